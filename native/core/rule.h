// The update rule, once for host and device. DESIGN: float32, one rounding per operation, in this order.
//
//   g = c*g
//   v = tiny0(b1*v + o1*g)
//   s = tiny0(b2*s + o2*(g*g))
//   p = p - eta*((v*r1)/(sqrt(s*r2) + eps) + wd*p)
//
// Build without floating-point contraction, and with IEEE division and square root.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "portability.h"
#include "scalars.h"

namespace vradam {
inline namespace VRADAM_CORE_NAMESPACE {

// +0 where x is subnormal. A velocity whose gradient stays zero would otherwise end in a subnormal number
// after some 764 steps, stay there, and make every later step two to five times slower.
VRADAM_HOST_DEVICE inline float tiny0(float x) {
  return std::fabs(x) < 0x1p-126f ? 0.0f : x;
}

VRADAM_HOST_DEVICE inline float next_velocity(const UpdateScalars& a, float v, float g) {
  return tiny0(a.b1 * v + a.o1 * g);
}

VRADAM_HOST_DEVICE inline float next_second_moment(const UpdateScalars& a, float s, float g) {
  return tiny0(a.b2 * s + a.o2 * (g * g));
}

// v and s are the new ones.
VRADAM_HOST_DEVICE inline float next_parameter(const UpdateScalars& a, float p, float v, float s) {
  return p - a.eta * ((v * a.r1) / (std::sqrt(s * a.r2) + a.eps) + a.wd * p);
}

// |g| as an integer that orders like the float and puts NaN above infinity, so that one maximum per tensor
// tells whether any of its gradients is bad.
VRADAM_HOST_DEVICE inline std::int32_t magnitude_bits(float g) {
  std::int32_t bits;
  std::memcpy(&bits, &g, sizeof bits);
  return bits & 0x7fffffff;
}

// Whether a gradient of this magnitude, scaled by c, refuses the step: it is NaN or infinite, or its square
// is, which would make the second moment infinite for good. Rounding is monotonic, so the largest decides.
VRADAM_HOST_DEVICE inline bool refuses_step(std::int32_t magnitude, float c) {
  float g;
  std::memcpy(&g, &magnitude, sizeof g);
  g = c * g;
  const float square = g * g;
  return !(square <= 0x1.fffffep127f);
}

// eta = learningRate / (1 + min(beta3*N, lrCutoff)); a NaN penalty counts as the cutoff.
VRADAM_HOST_DEVICE inline double effective_learning_rate(double learning_rate, double beta3, double penalty,
                                                         double lr_cutoff) {
  double x = beta3 == 0.0 ? 0.0 : beta3 * penalty;
  if (!(x < lr_cutoff)) x = lr_cutoff;
  return learning_rate / (1.0 + x);
}

// clipNorm / max(clipNorm, norm); 1 where the norm is NaN.
VRADAM_HOST_DEVICE inline double clip_coefficient(double clip_norm, double norm) {
  return clip_norm / (norm > clip_norm ? norm : clip_norm);
}

// sign * gradient scale * clip coefficient of a group, before its rounding to float32.
VRADAM_HOST_DEVICE inline double gradient_factor(const StepScalars& scalars, double clip_coefficient) {
  return scalars.sign * (scalars.gradient_scale * clip_coefficient);
}

// beta^t by repeated squaring, right to left, so that every engine rounds alike.
VRADAM_HOST_DEVICE inline double integer_power(double beta, std::uint64_t t) {
  double result = 1.0;
  for (double base = beta; t != 0; t >>= 1) {
    if (t & 1) result *= base;
    base *= base;
  }
  return result;
}

// t counts this step.
VRADAM_HOST_DEVICE inline UpdateScalars update_scalars(const GroupSettings& group, std::uint64_t t,
                                                       double eta, double c) {
  UpdateScalars a;
  a.b1 = static_cast<float>(group.beta1);
  a.o1 = static_cast<float>(1.0 - group.beta1);
  a.b2 = static_cast<float>(group.beta2);
  a.o2 = static_cast<float>(1.0 - group.beta2);
  a.r1 = static_cast<float>(1.0 / (1.0 - integer_power(group.beta1, t)));
  a.r2 = static_cast<float>(1.0 / (1.0 - integer_power(group.beta2, t)));
  a.eps = static_cast<float>(group.epsilon);
  a.wd = static_cast<float>(group.weight_decay);
  a.eta = static_cast<float>(eta);
  a.c = static_cast<float>(c);
  return a;
}

}  // namespace VRADAM_CORE_NAMESPACE
}  // namespace vradam
