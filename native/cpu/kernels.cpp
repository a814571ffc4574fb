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

// What a reading pass takes of an element: the gradient whose magnitude is looked at, and a value to sum up.
struct NoTerm {
  static constexpr bool kSums = false;
  float c;
  float gradient(const float* g, std::size_t i) const { return c * g[i]; }
};

template <Power kPower, bool kScaled>
struct GradientTerm {
  static constexpr bool kSums = true;
  UpdateScalars a;
  double exponent;
  float gradient(const float* g, std::size_t i) const { return kScaled ? a.c * g[i] : g[i]; }
  float value(const float* g, const float*, std::size_t i) const { return gradient(g, i); }
  double add(double sum, float x) const { return add_term<kPower>(sum, x, exponent); }
};

template <Power kPower, bool kScaled>
struct VelocityTerm : GradientTerm<kPower, kScaled> {
  float value(const float* g, const float* v, std::size_t i) const {
    return next_velocity(this->a, v[i], this->gradient(g, i));
  }
};

// Lanes whose sums stay in registers together. Where these are not all, what is summed up is written down
// first, some rows at a time.
#if defined(__AVX512F__)
constexpr std::size_t kTogether = kLanes;
#elif defined(__AVX2__)
constexpr std::size_t kTogether = 16;
#else
constexpr std::size_t kTogether = 8;
#endif
constexpr std::size_t kRows = 8;

// Adds whole rows of values to the lanes.
template <typename Term>
void add_rows(const Term& term, const float* values, std::size_t rows, double* lanes) {
  for (std::size_t first = 0; first < kLanes; first += kTogether) {
    double sums[kTogether];
    for (std::size_t l = 0; l < kTogether; ++l) sums[l] = lanes[first + l];
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t l = 0; l < kTogether; ++l) {
        sums[l] = term.add(sums[l], values[row * kLanes + first + l]);
      }
    }
    for (std::size_t l = 0; l < kTogether; ++l) lanes[first + l] = sums[l];
  }
}

template <typename Term>
std::int32_t read_chunk(const Term term, const float* VRADAM_RESTRICT g, const float* VRADAM_RESTRICT v,
                        std::size_t n, double* sum) {
  double lanes[kLanes] = {};
  std::int32_t largest[kLanes] = {};
  const auto look = [&](std::size_t l, std::size_t i) {
    largest[l] = larger(largest[l], magnitude_bits(term.gradient(g, i)));
  };
  std::size_t i = 0;
  if constexpr (Term::kSums && kTogether != kLanes) {
    float values[kRows * kLanes];
    for (; i + kRows * kLanes <= n; i += kRows * kLanes) {
      for (std::size_t row = 0; row < kRows * kLanes; row += kLanes) {
        for (std::size_t l = 0; l < kLanes; ++l) {
          look(l, i + row + l);
          values[row + l] = term.value(g, v, i + row + l);
        }
      }
      add_rows(term, values, kRows, lanes);
    }
  }
  const auto row = [&](std::size_t length) {
    for (std::size_t l = 0; l < length; ++l) {
      look(l, i + l);
      if constexpr (Term::kSums) lanes[l] = term.add(lanes[l], term.value(g, v, i + l));
    }
  };
  for (; i + kLanes <= n; i += kLanes) row(kLanes);
  row(n - i);
  if constexpr (Term::kSums) *sum = reduce_lanes(lanes);
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
  return read_chunks(GradientTerm<Power::kTwo, false>{}, g, nullptr, n, sums);
}

template <typename Term>
std::int32_t read_terms(double exponent, const float* g, const float* v, std::size_t n,
                        const UpdateScalars& a, double* sums) {
  Term term;
  term.a = a;
  term.exponent = exponent;
  return read_chunks(term, g, v, n, sums);
}

template <template <Power, bool> typename Term, Power kPower>
std::int32_t penalty_of(double exponent, const float* g, const float* v, std::size_t n,
                        const UpdateScalars& a, double* sums) {
  return a.c != 1.0f ? read_terms<Term<kPower, true>>(exponent, g, v, n, a, sums)
                     : read_terms<Term<kPower, false>>(exponent, g, v, n, a, sums);
}

template <template <Power, bool> typename Term>
std::int32_t penalty(Power power, double exponent, const float* g, const float* v, std::size_t n,
                     const UpdateScalars& a, double* sums) {
  switch (power) {
    case Power::kOne:
      return penalty_of<Term, Power::kOne>(exponent, g, v, n, a, sums);
    case Power::kTwo:
      return penalty_of<Term, Power::kTwo>(exponent, g, v, n, a, sums);
    case Power::kThree:
      return penalty_of<Term, Power::kThree>(exponent, g, v, n, a, sums);
    case Power::kFour:
      return penalty_of<Term, Power::kFour>(exponent, g, v, n, a, sums);
    case Power::kOther:
      break;
  }
  return penalty_of<Term, Power::kOther>(exponent, g, v, n, a, sums);
}

bool is_cut(const UpdateScalars& a) {
  return std::isfinite(a.limit);
}

// The state arrays from an element on; null for those that a rule does not have.
struct State {
  State(float* const* arrays, std::size_t count, std::size_t begin) {
    for (std::size_t k = 0; k < count; ++k) at[k] = arrays[k] + begin;
  }
  float* at[kMostArrays] = {};
};

// Penalties of values that are written down first, a chunk at a time: write(at, length, values).
template <typename Write>
std::int32_t penalty_of_written(Power power, double exponent, const float* g, std::size_t n, float c,
                                double* sums, const Write& write) {
  UpdateScalars as_they_are{};
  as_they_are.c = 1.0f;
  float values[kChunk];
  for (std::size_t at = 0; at < n; at += kChunk) {
    const std::size_t length = n - at < kChunk ? n - at : kChunk;
    write(at, length, values);
    penalty<GradientTerm>(power, exponent, values, nullptr, length, as_they_are, sums + at / kChunk);
  }
  return largest_gradient(g, n, c);
}

std::int32_t gradient_penalty(Power power, double exponent, const float* g, std::size_t n,
                              const UpdateScalars& a, double* sums) {
  if (!is_cut(a)) return penalty<GradientTerm>(power, exponent, g, nullptr, n, a, sums);
  return penalty_of_written(power, exponent, g, n, a.c, sums,
                            [&](std::size_t at, std::size_t length, float* values) {
                              for (std::size_t i = 0; i < length; ++i) values[i] = cut(a, a.c * g[at + i]);
                            });
}

// The velocities that a rule will have.
template <typename R, std::size_t kArrays>
void write_velocities(const float* VRADAM_RESTRICT g, const float* VRADAM_RESTRICT s0,
                      const float* VRADAM_RESTRICT s1, const float* VRADAM_RESTRICT s2, std::size_t n,
                      const UpdateScalars& scalars, float* VRADAM_RESTRICT velocities) {
  const UpdateScalars a = scalars;
  for (std::size_t i = 0; i < n; ++i) {
    const float gradient = cut(a, a.c * g[i]);
    if constexpr (R::kVelocity == rule::Velocity::kOfGradient) {
      velocities[i] = next_velocity(a, s0[i], gradient);
    } else {
      float s[kMostArrays] = {s0[i], s1[i], kArrays > 2 ? s2[i] : 0.0f};
      velocities[i] = R::velocity(a, gradient, s);
    }
  }
}

std::int32_t penalty_of_next_velocity(Power power, double exponent, const float* g, const float* v,
                                      std::size_t n, const UpdateScalars& a, double* sums) {
  return penalty<VelocityTerm>(power, exponent, g, v, n, a, sums);
}

template <typename R, std::size_t kArrays>
std::int32_t velocity_penalty_of(Power power, double exponent, const float* g, float* const* state,
                                 std::size_t n, const UpdateScalars& a, double* sums) {
  if constexpr (R::kVelocity != rule::Velocity::kNone) {
    if (R::kVelocity == rule::Velocity::kOfGradient && !is_cut(a)) {
      return penalty_of_next_velocity(power, exponent, g, state[0], n, a, sums);
    }
    return penalty_of_written(
        power, exponent, g, n, a.c, sums, [&](std::size_t at, std::size_t length, float* values) {
          const State s(state, kArrays, at);
          write_velocities<R, kArrays>(g + at, s.at[0], s.at[1], s.at[2], length, a, values);
        });
  }
  return 0;
}

std::int32_t velocity_penalty(Rule rule, Power power, double exponent, const float* g, float* const* state,
                              std::size_t n, const UpdateScalars& a, double* sums) {
  switch (rule) {
#define VRADAM_VELOCITY_PENALTY(name, ...) \
  case Rule::name:                         \
    return velocity_penalty_of<rule::name, kArraysOf<Rule::name>>(power, exponent, g, state, n, a, sums);
    VRADAM_RULES(VRADAM_VELOCITY_PENALTY)
#undef VRADAM_VELOCITY_PENALTY
  }
  return 0;
}

// What a rule gets of a gradient.
enum class Gradient : std::uint8_t { kAsItIs, kScaled, kCut };

Gradient gradient_of(const UpdateScalars& a) {
  if (is_cut(a)) return Gradient::kCut;
  return a.c == 1.0f ? Gradient::kAsItIs : Gradient::kScaled;
}

// p_out may be p_in, so they are not restricted. The scalars are copied: behind a reference, every store to
// an array might change them.
template <typename R, std::size_t kArrays, Gradient kGradient>
void update_run(const float* p_in, float* p_out, const float* VRADAM_RESTRICT g, float* VRADAM_RESTRICT s0,
                float* VRADAM_RESTRICT s1, float* VRADAM_RESTRICT s2, std::size_t n,
                const UpdateScalars& scalars) {
  const UpdateScalars a = scalars;
  VRADAM_EACH_ALONE
  for (std::size_t i = 0; i < n; ++i) {
    float s[kMostArrays] = {};
    if constexpr (kArrays > 0) s[0] = s0[i];
    if constexpr (kArrays > 1) s[1] = s1[i];
    if constexpr (kArrays > 2) s[2] = s2[i];
    const float scaled = kGradient == Gradient::kAsItIs ? g[i] : a.c * g[i];
    p_out[i] = R::update(a, p_in[i], kGradient == Gradient::kCut ? cut(a, scaled) : scaled, s);
    if constexpr (kArrays > 0) s0[i] = s[0];
    if constexpr (kArrays > 1) s1[i] = s[1];
    if constexpr (kArrays > 2) s2[i] = s[2];
  }
}

constexpr std::size_t kTile = 1024;

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
template <typename Update>
void update_streaming(float* p_out, std::size_t n, const Update& update) {
  alignas(64) float buffer[kLine + kTile];
  // Elements before the first whole line go the ordinary way.
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p_out) / sizeof(float) % kLine;
  std::size_t skip = (kLine - offset) % kLine;
  std::size_t waiting = 0;
  float* out = p_out;
  for (std::size_t begin = 0; begin < n; begin += kTile) {
    const std::size_t length = n - begin < kTile ? n - begin : kTile;
    update(begin, length, buffer + waiting);
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
template <typename Update>
void update_streaming(float* p_out, std::size_t n, const Update& update) {
  update(0, n, p_out);
}
#endif

template <typename R, std::size_t kArrays, Gradient kGradient>
void update_of(Store store, const float* p_in, float* p_out, const float* g, float* const* state,
               std::size_t n, const UpdateScalars& a) {
  const auto run = [&](std::size_t begin, std::size_t length, float* out) {
    const State s(state, kArrays, begin);
    update_run<R, kArrays, kGradient>(p_in + begin, out, g + begin, s.at[0], s.at[1], s.at[2], length, a);
  };
  if (store == Store::kStreaming) return update_streaming(p_out, n, run);
  run(0, n, p_out);
}

void update(Rule rule, Store store, const float* p_in, float* p_out, const float* g, float* const* state,
            std::size_t n, const UpdateScalars& a) {
  switch (rule) {
    case Rule::adam:
      switch (gradient_of(a)) {
        case Gradient::kAsItIs:
          return update_of<rule::adam, 2, Gradient::kAsItIs>(store, p_in, p_out, g, state, n, a);
        case Gradient::kScaled:
          return update_of<rule::adam, 2, Gradient::kScaled>(store, p_in, p_out, g, state, n, a);
        case Gradient::kCut:
          return update_of<rule::adam, 2, Gradient::kCut>(store, p_in, p_out, g, state, n, a);
      }
      return;
#define VRADAM_UPDATE(name, ...) \
  case Rule::name:               \
    return update_of<rule::name, kArraysOf<Rule::name>, Gradient::kCut>(store, p_in, p_out, g, state, n, a);
      VRADAM_OTHER_RULES(VRADAM_UPDATE)
#undef VRADAM_UPDATE
  }
}

void average(float* VRADAM_RESTRICT average, const float* VRADAM_RESTRICT p, std::size_t n, double decay) {
  const auto kept = static_cast<float>(decay);
  const auto fresh = static_cast<float>(1.0 - decay);
  for (std::size_t i = 0; i < n; ++i) average[i] = next_average(kept, fresh, average[i], p[i]);
}

void accumulate(double* VRADAM_RESTRICT sum, const float* VRADAM_RESTRICT g, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) sum[i] += g[i];
}

void mean(float* VRADAM_RESTRICT mean, const double* VRADAM_RESTRICT sum, std::size_t n, double count) {
  for (std::size_t i = 0; i < n; ++i) mean[i] = static_cast<float>(sum[i] / count);
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
    largest_gradient,
    sum_squared_gradient,
    gradient_penalty,
    velocity_penalty,
    update,
    average,
    accumulate,
    mean,
#if defined(__AVX512F__)
    // Vectors of a whole cache line each keep memory waiting: they take 1.2 to 1.5 times as long there (Zen).
    &kernels_avx2,
#else
    &VRADAM_JOIN(kernels_, VRADAM_ISA),
#endif
};

}  // namespace vradam
