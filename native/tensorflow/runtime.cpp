#include "runtime.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#include <mach-o/dyld.h>
#endif

#include <cstring>
#include <vector>

namespace vradam::tensorflow {

#if defined(__linux__) || defined(__APPLE__)
namespace {

// Paths of the loaded libraries that may have the C API: libtensorflow.so.2 in TensorFlow's archives for C,
// libtensorflow_cc.so.2 and libtensorflow_framework.so.2 in its Python wheels.
std::vector<std::string> loaded_libraries() {
  std::vector<std::string> paths;
  const auto keep = [&paths](const char* path) {
    const char* const slash = path == nullptr ? nullptr : std::strrchr(path, '/');
    if (slash != nullptr && std::strncmp(slash, "/libtensorflow", 14) == 0) paths.emplace_back(path);
  };
#if defined(__linux__)
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* context) {
        (*static_cast<decltype(keep)*>(context))(info->dlpi_name);
        return 0;
      },
      const_cast<void*>(static_cast<const void*>(&keep)));
#else
  for (std::uint32_t i = 0; i < _dyld_image_count(); ++i) keep(_dyld_get_image_name(i));
#endif
  return paths;
}

// Looks every function up. Returns the name of the first that is missing.
const char* look_up(void* library, Api& api) {
#define VRADAM_LOOK_UP(name, result, parameters)                            \
  api.name = reinterpret_cast<result(*) parameters>(dlsym(library, #name)); \
  if (api.name == nullptr) return #name;
  VRADAM_TENSORFLOW_FUNCTIONS(VRADAM_LOOK_UP)
#undef VRADAM_LOOK_UP
  return nullptr;
}

}  // namespace

std::string find_runtime(Api& api) {
  std::string lacking;
  for (const std::string& path : loaded_libraries()) {
    // Only what is there already: another copy of TensorFlow would be of no use to anybody.
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) continue;
    const char* const missing = look_up(library, api);
    // The library stays open: it now points to our kernel, and we to its functions.
    if (missing == nullptr) return "";
    lacking = path + " has no " + missing;
    dlclose(library);
  }
  return lacking.empty() ? "This process has loaded no TensorFlow library"
                         : "The TensorFlow library of this process cannot take an op at run time: " + lacking;
}

#else

std::string find_runtime(Api&) {
  return "An op can be added to a running TensorFlow on Linux and macOS only";
}

#endif

}  // namespace vradam::tensorflow
