// The terms of a penalty, |x|^power in double. Powers 1 to 4 are products, left to right, and give the same
// bytes everywhere; every other power goes through the platform's pow.
#pragma once

#include <cmath>
#include <cstdint>

#include "portability.h"

namespace vradam {

enum class Power : std::uint8_t { kOne, kTwo, kThree, kFour, kOther };

inline namespace VRADAM_CORE_NAMESPACE {

inline Power classify_exponent(double exponent) {
  if (exponent == 1.0) return Power::kOne;
  if (exponent == 2.0) return Power::kTwo;
  if (exponent == 3.0) return Power::kThree;
  if (exponent == 4.0) return Power::kFour;
  return Power::kOther;
}

// sum + |x|^power
template <Power kPower>
VRADAM_HOST_DEVICE inline double add_term(double sum, float x, double exponent) {
  const double y = x;
  const double d = kPower == Power::kTwo || kPower == Power::kFour ? y : std::fabs(y);
  switch (kPower) {
    case Power::kOne:
      return sum + d;
    case Power::kTwo:
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDA_ARCH__)
      return std::fma(d, d, sum);  // d*d is exact in double, so this rounds as d*d + sum does
#else
      return sum + d * d;
#endif
    case Power::kThree:
      return sum + d * d * d;
    case Power::kFour:
      return sum + d * d * d * d;
    case Power::kOther:
      return sum + std::pow(d, exponent);
  }
  return sum;
}

}  // namespace VRADAM_CORE_NAMESPACE
}  // namespace vradam
