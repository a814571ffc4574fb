// The elementwise passes, one table of them per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/power.h"
#include "../core/rules.h"
#include "../core/scalars.h"
#include "instruction_sets.h"

namespace vradam {

// How new parameters reach memory that is not where they were read.
enum class Store : std::uint8_t {
  kInPlace,    // p_out == p_in
  kCached,     // other memory that will be read again soon
  kStreaming,  // other memory, past the caches: saves reading it before it is overwritten
};

// What kernels need of a processor, as bits.
enum Features : std::uint32_t {
  kBaseline = 0,
  kAvx2 = 1,    // with FMA
  kAvx512 = 2,  // F, VL, BW and DQ
};

// Reading passes take n elements that begin at a chunk, write one sum per chunk, and return the largest
// |c*gradient| as magnitude_bits. `state` are the rule's arrays, from the first of the n elements on.
struct Kernels {
  const char* name;
  std::uint32_t needs;  // of Features
  std::int32_t (*largest_gradient)(const float* g, std::size_t n, float c);
  std::int32_t (*sum_squared_gradient)(const float* g, std::size_t n, double* sums);
  std::int32_t (*gradient_penalty)(Power power, double exponent, const float* g, std::size_t n,
                                   const UpdateScalars& scalars, double* sums);
  // 0 where the rule has no velocity.
  std::int32_t (*velocity_penalty)(Rule rule, Power power, double exponent, const float* g,
                                   float* const* state, std::size_t n, const UpdateScalars& scalars,
                                   double* sums);
  void (*update)(Rule rule, Store store, const float* p_in, float* p_out, const float* g, float* const* state,
                 std::size_t n, const UpdateScalars& scalars);
  // average = decay * average + (1 - decay) * p
  void (*average)(float* average, const float* p, std::size_t n, double decay);
  // sum += g
  void (*accumulate)(double* sum, const float* g, std::size_t n);
  // mean = sum / count, rounded once.
  void (*mean)(float* mean, const double* sum, std::size_t n, double count);
  // Faster where memory does not stay in the caches, on every processor that these run on.
  const Kernels* beyond_caches;
};

#define VRADAM_DECLARE_KERNELS(set) extern const Kernels kernels_##set;
VRADAM_INSTRUCTION_SETS(VRADAM_DECLARE_KERNELS)
#undef VRADAM_DECLARE_KERNELS

}  // namespace vradam
