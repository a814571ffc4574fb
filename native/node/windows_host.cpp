// On Windows an addon asks for Node's functions by the name of a library, node.exe. They are asked for late,
// here, and come from the program that runs: Electron, or a node.exe of another name.
// clang-format off
#include <windows.h>
// After the types that it needs.
#include <delayimp.h>
// clang-format on

namespace {

FARPROC WINAPI running_program(unsigned event, DelayLoadInfo*) {
  return event == dliNotePreLoadLibrary ? reinterpret_cast<FARPROC>(GetModuleHandleW(nullptr)) : nullptr;
}

}  // namespace

PfnDliHook __pfnDliNotifyHook2 = running_program;
