// Libraries that are opened while the process runs, and stay open.
#pragma once

#include <string>

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace vradam {

#if defined(_WIN32)
inline void* open_library(const std::string& path, std::string* why) {
  std::wstring wide(path.size() + 1, L'\0');  // UTF-16 never takes more units than UTF-8
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), static_cast<int>(wide.size()));
  const HMODULE library = LoadLibraryW(wide.c_str());
  if (library == nullptr) *why = "error " + std::to_string(GetLastError());
  return reinterpret_cast<void*>(library);
}

inline void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}
#else
inline void* open_library(const std::string& path, std::string* why) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) *why = dlerror();
  return library;
}

inline void* find_symbol(void* library, const char* name) {
  return dlsym(library, name);
}
#endif

}  // namespace vradam
