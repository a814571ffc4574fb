// Marks what the rule needs from each compiler: host and device functions, and a namespace per instruction
// set.
#pragma once

#if defined(__CUDACC__)
#define VRADAM_HOST_DEVICE __host__ __device__
#else
#define VRADAM_HOST_DEVICE
#endif

// Each instruction set compiles its own copy of the inline functions under its own name. Under one name the
// linker would keep a single copy, perhaps the AVX-512 one, and call it on machines that do not have AVX-512.
#if !defined(VRADAM_CORE_NAMESPACE)
#define VRADAM_CORE_NAMESPACE baseline
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define VRADAM_RESTRICT __restrict
#else
#define VRADAM_RESTRICT __restrict__
#endif

// Before a loop each turn of which reads and writes elements of its own, whatever arrays they are of.
#if defined(__clang__)
#define VRADAM_EACH_ALONE _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define VRADAM_EACH_ALONE _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define VRADAM_EACH_ALONE __pragma(loop(ivdep))
#else
#define VRADAM_EACH_ALONE
#endif
