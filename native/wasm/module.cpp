// The kernels of the engine wasm, as functions of a WebAssembly module: scripts/build-wasm.mjs. Addresses are
// of the memory that the module imports, whoever else lives there, so it has no data of its own; its stack
// lies where whoever makes an instance says. It also imports `pow`, JavaScript's.
//
// The update is the CPU engine's, compiled unchanged. So are sums; but what is summed up is written down by
// loops of its own, which takes half of the code.
#define VRADAM_ISA wasm
#define VRADAM_CORE_NAMESPACE wasm
#include "../cpu/kernels.cpp"

#define VRADAM_EXPORT(name) extern "C" __attribute__((export_name(#name)))

namespace vradam {
namespace {

constexpr std::size_t kPiece = 1024;
static_assert(kChunk % kPiece == 0 && kPiece % kLanes == 0);

// Writes what a penalty is taken of, new velocities or, where there is no v, gradients; returns the largest
// |c*g|.
std::int32_t write_values(const float* VRADAM_RESTRICT g, const float* VRADAM_RESTRICT v, std::size_t n,
                          const UpdateScalars& scalars, float* VRADAM_RESTRICT values) {
  const UpdateScalars a = scalars;
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = a.c * g[i];
    largest = larger(largest, magnitude_bits(values[i]));
  }
  if (is_cut(a)) {
    for (std::size_t i = 0; i < n; ++i) values[i] = cut(a, values[i]);
  }
  if (v == nullptr) return largest;
  for (std::size_t i = 0; i < n; ++i) values[i] = next_velocity(a, v[i], values[i]);
  return largest;
}

template <Power kPower>
void add_terms(const float* values, std::size_t n, double exponent, double* lanes) {
  GradientTerm<kPower, false> term;
  term.exponent = exponent;
  const std::size_t rows = n / kLanes;
  add_rows(term, values, rows, lanes);
  const float* const rest = values + rows * kLanes;
  for (std::size_t l = 0; l < n % kLanes; ++l) lanes[l] = term.add(lanes[l], rest[l]);
}

void add_terms(double exponent, const float* values, std::size_t n, double* lanes) {
  switch (classify_exponent(exponent)) {
    case Power::kOne:
      return add_terms<Power::kOne>(values, n, exponent, lanes);
    case Power::kTwo:
      return add_terms<Power::kTwo>(values, n, exponent, lanes);
    case Power::kThree:
      return add_terms<Power::kThree>(values, n, exponent, lanes);
    case Power::kFour:
      return add_terms<Power::kFour>(values, n, exponent, lanes);
    case Power::kOther:
      return add_terms<Power::kOther>(values, n, exponent, lanes);
  }
}

}  // namespace

VRADAM_EXPORT(largest)
std::int32_t largest(const float* g, std::size_t n, const UpdateScalars* scalars) {
  const float c = scalars->c;
  std::int32_t found = 0;
  for (std::size_t i = 0; i < n; ++i) found = larger(found, magnitude_bits(c * g[i]));
  return found;
}

// Writes a sum per chunk of the n elements.
VRADAM_EXPORT(penalty)
std::int32_t penalty(double exponent, const float* g, const float* v, std::size_t n,
                     const UpdateScalars* scalars, double* sums) {
  std::int32_t found = 0;
  float values[kPiece];
  for (std::size_t chunk = 0; chunk < n; chunk += kChunk) {
    const std::size_t end = n - chunk < kChunk ? n : chunk + kChunk;
    double lanes[kLanes] = {};
    for (std::size_t at = chunk; at < end; at += kPiece) {
      const std::size_t length = end - at < kPiece ? end - at : kPiece;
      const float* const velocity = v == nullptr ? nullptr : v + at;
      found = larger(found, write_values(g + at, velocity, length, *scalars, values));
      add_terms(exponent, values, length, lanes);
    }
    sums[chunk / kChunk] = reduce_lanes(lanes);
  }
  return found;
}

// Writes the velocities that a rule of a velocity of its own will have, for `penalty` to read as gradients.
VRADAM_EXPORT(velocities)
void velocities(Rule rule, const float* g, float* s0, float* s1, float* s2, std::size_t n,
                const UpdateScalars* scalars, float* to) {
  if (rule == Rule::rmspropMomentum) {
    write_velocities<rule::rmspropMomentum, 2>(g, s0, s1, s2, n, *scalars, to);
  } else {
    write_velocities<rule::rmspropCenteredMomentum, 3>(g, s0, s1, s2, n, *scalars, to);
  }
}

// Multiplying by a c of 1 changes nothing, so the kernels that do without are left out.
VRADAM_EXPORT(update)
void update(Rule rule, const float* p_in, float* p_out, const float* g, float* s0, float* s1, float* s2,
            std::size_t n, const UpdateScalars* scalars) {
  switch (rule) {
    case Rule::adam:
      if (!is_cut(*scalars)) {
        return update_run<rule::adam, 2, Gradient::kScaled>(p_in, p_out, g, s0, s1, s2, n, *scalars);
      }
      return update_run<rule::adam, 2, Gradient::kCut>(p_in, p_out, g, s0, s1, s2, n, *scalars);
#define VRADAM_UPDATE(name, ...)                                                                        \
  case Rule::name:                                                                                      \
    return update_run<rule::name, kArraysOf<Rule::name>, Gradient::kCut>(p_in, p_out, g, s0, s1, s2, n, \
                                                                         *scalars);
      VRADAM_OTHER_RULES(VRADAM_UPDATE)
#undef VRADAM_UPDATE
  }
}

}  // namespace vradam
