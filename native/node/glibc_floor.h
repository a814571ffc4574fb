// Lets an addon that was linked on a new Linux load on an old one: glibc 2.28 and the libstdc++ of GCC 8,
// what Node.js 20 itself asks for. The linker would bind these functions to the versions they got when libdl
// and libpthread were merged into libc (2.34) or when they moved there (2.32), and pow to the one that leaves
// errno alone (2.29); the old ones are the same functions. Included before everything else in the addon's
// sources; scripts/glibc-floor.mjs checks what comes of it.
#pragma once

#if defined(__linux__) && defined(__has_include)
#if __has_include(<features.h>)
#include <features.h>
#endif
#endif

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#if defined(__x86_64__)
#define VRADAM_OLDEST_GLIBC "GLIBC_2.2.5"
#else
#define VRADAM_OLDEST_GLIBC "GLIBC_2.17"
#endif

#define VRADAM_BIND_OLDEST(name) __asm__(".symver " #name "," #name "@" VRADAM_OLDEST_GLIBC)

VRADAM_BIND_OLDEST(dladdr);
VRADAM_BIND_OLDEST(dlclose);
VRADAM_BIND_OLDEST(dlerror);
VRADAM_BIND_OLDEST(dlopen);
VRADAM_BIND_OLDEST(dlsym);
VRADAM_BIND_OLDEST(pow);
VRADAM_BIND_OLDEST(pthread_create);
VRADAM_BIND_OLDEST(pthread_detach);
VRADAM_BIND_OLDEST(pthread_join);
VRADAM_BIND_OLDEST(pthread_mutex_trylock);
VRADAM_BIND_OLDEST(pthread_sigmask);

#undef VRADAM_BIND_OLDEST
#undef VRADAM_OLDEST_GLIBC

#endif
