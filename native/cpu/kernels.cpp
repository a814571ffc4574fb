// Compiled once per instruction set: VRADAM_ISA names it and the compiler's flags choose it. Plain loops
// over the rule; the compiler vectorizes them and their tails.
#include "kernels.h"

#include <cmath>

#include "../core/reduction.h"
#include "../core/rule.h"

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace vradam {
inline namespace VRADAM_CORE_NAMESPACE {
namespace {

inline std::int32_t larger(std::int32_t a, std::int32_t b) {
  return a > b ? a : b;
}

struct NoTerm {
  static constexpr bool kSums = false;
  float c;
  std::int32_t magnitude(const float* g, const float*, std::size_t i) const {
    return magnitude_bits(c * g[i]);
  }
  double add(double sum, const float*, const float*, std::size_t) const { return sum; }
};

template <Power kPower, bool kScaled>
struct GradientTerm {
  static constexpr bool kSums = true;
  float c;
  double exponent;
  float gradient(const float* g, std::size_t i) const { return kScaled ? c * g[i] : g[i]; }
  std::int32_t magnitude(const float* g, const float*, std::size_t i) const {
    return magnitude_bits(gradient(g, i));
  }
  double add(double sum, const float* g, const float*, std::size_t i) const {
    return add_term<kPower>(sum, gradient(g, i), exponent);
  }
};

template <Power kPower, bool kScaled>
struct VelocityTerm {
  static constexpr bool kSums = true;
  UpdateScalars a;
  double exponent;
  float gradient(const float* g, std::size_t i) const { return kScaled ? a.c * g[i] : g[i]; }
  std::int32_t magnitude(const float* g, const float*, std::size_t i) const {
    return magnitude_bits(gradient(g, i));
  }
  double add(double sum, const float* g, const float* v, std::size_t i) const {
    return add_term<kPower>(sum, next_velocity(a, v[i], gradient(g, i)), exponent);
  }
};

// All lanes advance together, so that they stay in registers and memory is read straight through.
template <typename Term>
std::int32_t read_chunk(const Term term, const float* VRADAM_RESTRICT g, const float* VRADAM_RESTRICT v,
                        std::size_t n, double* sum) {
  double lanes[kLanes] = {};
  std::int32_t largest[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      largest[l] = larger(largest[l], term.magnitude(g, v, i + l));
      if (Term::kSums) lanes[l] = term.add(lanes[l], g, v, i + l);
    }
  }
  for (std::size_t l = 0; i + l < n; ++l) {
    largest[l] = larger(largest[l], term.magnitude(g, v, i + l));
    if (Term::kSums) lanes[l] = term.add(lanes[l], g, v, i + l);
  }
  if (Term::kSums) *sum = reduce_lanes(lanes);
  std::int32_t magnitude = 0;
  for (std::size_t l = 0; l < kLanes; ++l) magnitude = larger(magnitude, largest[l]);
  return magnitude;
}

template <typename Term>
std::int32_t read_chunks(const Term& term, const float* g, const float* v, std::size_t n, double* sums) {
  std::int32_t magnitude = 0;
  for (std::size_t begin = 0; begin < n; begin += kChunk) {
    const std::size_t length = n - begin < kChunk ? n - begin : kChunk;
    const float* const velocity = v == nullptr ? nullptr : v + begin;
    double* const sum = sums == nullptr ? nullptr : sums + begin / kChunk;
    magnitude = larger(magnitude, read_chunk(term, g + begin, velocity, length, sum));
  }
  return magnitude;
}

std::int32_t largest_gradient(const float* g, std::size_t n, float c) {
  return read_chunks(NoTerm{c}, g, nullptr, n, nullptr);
}

std::int32_t sum_squared_gradient(const float* g, std::size_t n, double* sums) {
  return read_chunks(GradientTerm<Power::kTwo, false>{1.0f, 2.0}, g, nullptr, n, sums);
}

template <Power kPower>
std::int32_t gradient_penalty_of(double exponent, const float* g, std::size_t n, float c, double* sums) {
  return c == 1.0f ? read_chunks(GradientTerm<kPower, false>{c, exponent}, g, nullptr, n, sums)
                   : read_chunks(GradientTerm<kPower, true>{c, exponent}, g, nullptr, n, sums);
}

template <Power kPower>
std::int32_t velocity_penalty_of(double exponent, const float* g, const float* v, std::size_t n,
                                 const UpdateScalars& a, double* sums) {
  return a.c == 1.0f ? read_chunks(VelocityTerm<kPower, false>{a, exponent}, g, v, n, sums)
                     : read_chunks(VelocityTerm<kPower, true>{a, exponent}, g, v, n, sums);
}

std::int32_t gradient_penalty(Power power, double exponent, const float* g, std::size_t n, float c,
                              double* sums) {
  switch (power) {
    case Power::kOne:
      return gradient_penalty_of<Power::kOne>(exponent, g, n, c, sums);
    case Power::kTwo:
      return gradient_penalty_of<Power::kTwo>(exponent, g, n, c, sums);
    case Power::kThree:
      return gradient_penalty_of<Power::kThree>(exponent, g, n, c, sums);
    case Power::kFour:
      return gradient_penalty_of<Power::kFour>(exponent, g, n, c, sums);
    case Power::kOther:
      break;
  }
  return gradient_penalty_of<Power::kOther>(exponent, g, n, c, sums);
}

std::int32_t velocity_penalty(Power power, double exponent, const float* g, const float* v, std::size_t n,
                              const UpdateScalars& a, double* sums) {
  switch (power) {
    case Power::kOne:
      return velocity_penalty_of<Power::kOne>(exponent, g, v, n, a, sums);
    case Power::kTwo:
      return velocity_penalty_of<Power::kTwo>(exponent, g, v, n, a, sums);
    case Power::kThree:
      return velocity_penalty_of<Power::kThree>(exponent, g, v, n, a, sums);
    case Power::kFour:
      return velocity_penalty_of<Power::kFour>(exponent, g, v, n, a, sums);
    case Power::kOther:
      break;
  }
  return velocity_penalty_of<Power::kOther>(exponent, g, v, n, a, sums);
}

// Two bodies, because restrict is a promise about each array. The scalars are copied: behind a reference,
// every store to an array might change them.
template <bool kScaled>
void update_in_place(float* VRADAM_RESTRICT p, const float* VRADAM_RESTRICT g, float* VRADAM_RESTRICT v,
                     float* VRADAM_RESTRICT s, std::size_t n, const UpdateScalars& scalars) {
  const UpdateScalars a = scalars;
  for (std::size_t i = 0; i < n; ++i) {
    const float x = kScaled ? a.c * g[i] : g[i];
    v[i] = next_velocity(a, v[i], x);
    s[i] = next_second_moment(a, s[i], x);
    p[i] = next_parameter(a, p[i], v[i], s[i]);
  }
}

template <bool kScaled>
void update_to(const float* VRADAM_RESTRICT p_in, float* VRADAM_RESTRICT p_out,
               const float* VRADAM_RESTRICT g, float* VRADAM_RESTRICT v, float* VRADAM_RESTRICT s,
               std::size_t n, const UpdateScalars& scalars) {
  const UpdateScalars a = scalars;
  for (std::size_t i = 0; i < n; ++i) {
    const float x = kScaled ? a.c * g[i] : g[i];
    v[i] = next_velocity(a, v[i], x);
    s[i] = next_second_moment(a, s[i], x);
    p_out[i] = next_parameter(a, p_in[i], v[i], s[i]);
  }
}

#if defined(__SSE2__) || defined(_M_X64)
constexpr std::size_t kLine = 16;  // floats of a cache line

// Writes whole lines past the caches. `out` begins a line. The stores are weakly ordered; the caller fences.
void stream_lines(float* out, const float* in, std::size_t n) {
#if defined(__AVX512F__)
  for (std::size_t i = 0; i < n; i += 16) _mm512_stream_ps(out + i, _mm512_loadu_ps(in + i));
#elif defined(__AVX__)
  for (std::size_t i = 0; i < n; i += 8) _mm256_stream_ps(out + i, _mm256_loadu_ps(in + i));
#else
  for (std::size_t i = 0; i < n; i += 4) _mm_stream_ps(out + i, _mm_loadu_ps(in + i));
#endif
}

// Goes through a buffer that stays in cache. Where p_out does not begin a line, the rest of a line waits in
// the buffer for the next tile, so that no line is written half past the caches and half through them, and
// the state is still read where its lines begin.
template <bool kScaled>
void update_streaming(const float* p_in, float* p_out, const float* g, float* v, float* s, std::size_t n,
                      const UpdateScalars& a) {
  constexpr std::size_t kTile = 1024;
  alignas(64) float buffer[kLine + kTile];
  // Elements before the first whole line go the ordinary way.
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p_out) / sizeof(float) % kLine;
  std::size_t skip = (kLine - offset) % kLine;
  std::size_t waiting = 0;
  float* out = p_out;
  for (std::size_t begin = 0; begin < n; begin += kTile) {
    const std::size_t length = n - begin < kTile ? n - begin : kTile;
    update_to<kScaled>(p_in + begin, buffer + waiting, g + begin, v + begin, s + begin, length, a);
    const float* ready = buffer;
    std::size_t count = waiting + length;
    for (; skip != 0 && count != 0; --skip, --count) *out++ = *ready++;
    const std::size_t lines = count / kLine * kLine;
    stream_lines(out, ready, lines);
    out += lines;
    waiting = count - lines;
    for (std::size_t i = 0; i < waiting; ++i) buffer[i] = ready[lines + i];
  }
  for (std::size_t i = 0; i < waiting; ++i) out[i] = buffer[i];
  _mm_sfence();
}
#else
template <bool kScaled>
void update_streaming(const float* p_in, float* p_out, const float* g, float* v, float* s, std::size_t n,
                      const UpdateScalars& a) {
  update_to<kScaled>(p_in, p_out, g, v, s, n, a);
}
#endif

template <bool kScaled>
void update_stored(Store store, const float* p_in, float* p_out, const float* g, float* v, float* s,
                   std::size_t n, const UpdateScalars& a) {
  switch (store) {
    case Store::kInPlace:
      return update_in_place<kScaled>(p_out, g, v, s, n, a);
    case Store::kCached:
      return update_to<kScaled>(p_in, p_out, g, v, s, n, a);
    case Store::kStreaming:
      return update_streaming<kScaled>(p_in, p_out, g, v, s, n, a);
  }
}

void update(Store store, const float* p_in, float* p_out, const float* g, float* v, float* s, std::size_t n,
            const UpdateScalars& a) {
  if (a.c == 1.0f) {
    update_stored<false>(store, p_in, p_out, g, v, s, n, a);
  } else {
    update_stored<true>(store, p_in, p_out, g, v, s, n, a);
  }
}

}  // namespace
}  // namespace VRADAM_CORE_NAMESPACE

#define VRADAM_TEXT_(x) #x
#define VRADAM_TEXT(x) VRADAM_TEXT_(x)
#define VRADAM_JOIN_(a, b) a##b
#define VRADAM_JOIN(a, b) VRADAM_JOIN_(a, b)

// A table is data: it can be read where its functions cannot run.
const Kernels VRADAM_JOIN(kernels_, VRADAM_ISA) = {
    VRADAM_TEXT(VRADAM_ISA),
#if defined(__AVX512F__)
    kAvx2 | kAvx512,
#elif defined(__AVX2__)
    kAvx2,
#else
    kBaseline,
#endif
    largest_gradient,        sum_squared_gradient, gradient_penalty, velocity_penalty, update,
};

}  // namespace vradam
