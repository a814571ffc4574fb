// What the headers of a new libstdc++ take from its library, and an old library does not have. Defined here
// and hidden, so that the addon asks nobody for them.
#include <new>
#include <typeinfo>

#if defined(__GLIBCXX__) && defined(__GLIBC__)

// glibc 2.32: whether the process has one thread, which would spare reference counts their atomic operations.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;

// GCC 11: what std::allocator throws.
extern "C" [[noreturn]] __attribute__((visibility("hidden"))) void
vradam_throw_bad_array_new_length() __asm__("_ZSt28__throw_bad_array_new_lengthv");
void vradam_throw_bad_array_new_length() {
  throw std::bad_array_new_length();
}

// GCC 9: std::_Sp_make_shared_tag::_S_eq, by which code compiled before asks std::make_shared for its object.
// There is no such code in the addon.
extern "C" __attribute__((visibility("hidden"))) bool vradam_is_make_shared_tag(
    const std::type_info&) __asm__("_ZNSt19_Sp_make_shared_tag5_S_eqERKSt9type_info");
bool vradam_is_make_shared_tag(const std::type_info&) {
  return false;
}

#endif
