// The update rules, once for host and device: float32, one rounding per operation, in the order that is
// written. VRAdam, AdamW and Adam:
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
#include "rules.h"
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

// The gradient as the rule gets it. NaN stays what it is.
VRADAM_HOST_DEVICE inline float cut(const UpdateScalars& a, float g) {
  const float below = g > a.limit ? a.limit : g;
  return below < -a.limit ? -a.limit : below;
}

// The exponential moving average of a parameter, whose first value is the parameter's.
VRADAM_HOST_DEVICE inline float next_average(float decay, float fresh, float average, float p) {
  return decay * average + fresh * p;
}

// A rule each: `update` takes a gradient and the state arrays' elements in the order of rules.h, makes these
// the new ones, and returns the new parameter. kVelocity is how its velocity, the first array, follows.
namespace rule {

enum class Velocity : std::uint8_t {
  kNone,
  kOfGradient,  // next_velocity of it and the gradient
  kOwn,         // the rule's `velocity`, of all that `update` gets
};

VRADAM_HOST_DEVICE inline float descend(const UpdateScalars& a, float p, float direction) {
  return p - a.eta * (direction + a.wd * p);
}

VRADAM_HOST_DEVICE inline float larger(float x, float y) {
  return x > y ? x : y;
}

// Kingma and Ba, arXiv 1412.6980; with decoupled weight decay, arXiv 1711.05101; with the penalty,
// 2505.13196.
struct adam {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = next_velocity(a, s[0], g);
    return update_behind_velocity(a, p, g, s);
  }
  // The same where the velocity is the new one already.
  VRADAM_HOST_DEVICE static float update_behind_velocity(const UpdateScalars& a, float p, float g, float* s) {
    s[1] = next_second_moment(a, s[1], g);
    return next_parameter(a, p, s[0], s[1]);
  }
};

// Reddi, Kale and Kumar, ICLR 2018: the largest second moment so far, as PyTorch corrects its bias.
struct amsgrad {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = next_velocity(a, s[0], g);
    s[1] = next_second_moment(a, s[1], g);
    s[2] = larger(s[1], s[2]);
    return next_parameter(a, p, s[0], s[2]);
  }
};

struct sgd {
  static constexpr Velocity kVelocity = Velocity::kNone;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float*) {
    return descend(a, p, g);
  }
};

// Polyak 1964, without dampening: o1 is 1.
struct momentum {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = next_velocity(a, s[0], g);
    return descend(a, p, s[0]);
  }
};

// Sutskever et al., ICML 2013, in the form that looks ahead from the new velocity.
struct nesterov {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = next_velocity(a, s[0], g);
    return descend(a, p, g + a.b1 * s[0]);
  }
};

// Tieleman and Hinton 2012. With kCentered, the variance of the gradient instead of its square (Graves, arXiv
// 1308.0850); with kMomentum, a velocity of what plain RMSProp steps by.
template <bool kMomentum, bool kCentered>
struct root_mean_square {
  static constexpr Velocity kVelocity = kMomentum ? Velocity::kOwn : Velocity::kNone;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    float& second_moment = s[kMomentum];
    second_moment = next_second_moment(a, second_moment, g);
    float square = second_moment;
    if constexpr (kCentered) {
      float& mean = s[kMomentum + 1];
      mean = tiny0(a.b2 * mean + a.o2 * g);
      square = larger(square - mean * mean, 0.0f);
    }
    const float direction = g / std::sqrt(square + a.eps);
    if constexpr (!kMomentum) return descend(a, p, direction);
    s[0] = tiny0(a.b1 * s[0] + direction);
    return descend(a, p, s[0]);
  }
  VRADAM_HOST_DEVICE static float velocity(const UpdateScalars& a, float g, float* s) {
    update(a, 0.0f, g, s);
    return s[0];
  }
};
using rmsprop = root_mean_square<false, false>;
using rmspropMomentum = root_mean_square<true, false>;
using rmspropCentered = root_mean_square<false, true>;
using rmspropCenteredMomentum = root_mean_square<true, true>;

// Duchi, Hazan and Singer, JMLR 2011.
struct adagrad {
  static constexpr Velocity kVelocity = Velocity::kNone;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = tiny0(s[0] + g * g);
    return descend(a, p, g / std::sqrt(s[0] + a.eps));
  }
};

// Zeiler, arXiv 1212.5701, as tf.train.adadelta has it: what it divides by does not count this step's
// gradient.
struct adadelta {
  static constexpr Velocity kVelocity = Velocity::kNone;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    const float direction = std::sqrt(s[1] + a.eps) / std::sqrt(s[0] + a.eps) * g;
    s[0] = next_second_moment(a, s[0], g);
    s[1] = next_second_moment(a, s[1], direction);
    return descend(a, p, direction);
  }
};

// Kingma and Ba, arXiv 1412.6980, section 7.
struct adamax {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    s[0] = next_velocity(a, s[0], g);
    s[1] = tiny0(larger(a.b2 * s[1], std::fabs(g)));
    return descend(a, p, (s[0] * a.r1) / (s[1] + a.eps));
  }
};

// Chen et al., arXiv 2302.06675. Its beta2 is the decay of the velocity, so b1 and o1 are of it, b2 and o2 of
// beta1.
struct lion {
  static constexpr Velocity kVelocity = Velocity::kOfGradient;
  VRADAM_HOST_DEVICE static float update(const UpdateScalars& a, float p, float g, float* s) {
    const float between = a.b2 * s[0] + a.o2 * g;
    s[0] = next_velocity(a, s[0], g);
    return descend(a, p, between > 0.0f ? 1.0f : between < 0.0f ? -1.0f : 0.0f);
  }
};

}  // namespace rule

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
VRADAM_HOST_DEVICE inline UpdateScalars update_scalars(Rule rule, const GroupSettings& group, std::uint64_t t,
                                                       double eta, double c, double limit) {
  const double beta1 = rule == Rule::lion ? group.beta2 : group.beta1;
  const double beta2 = rule == Rule::lion ? group.beta1 : group.beta2;
  const bool adds_all = rule == Rule::momentum || rule == Rule::nesterov;
  UpdateScalars a;
  a.b1 = static_cast<float>(beta1);
  a.o1 = static_cast<float>(adds_all ? 1.0 : 1.0 - beta1);
  a.b2 = static_cast<float>(beta2);
  a.o2 = static_cast<float>(1.0 - beta2);
  a.r1 = static_cast<float>(1.0 / (1.0 - integer_power(group.beta1, t)));
  a.r2 = static_cast<float>(1.0 / (1.0 - integer_power(group.beta2, t)));
  a.eps = static_cast<float>(group.epsilon);
  a.wd = static_cast<float>(group.weight_decay);
  a.eta = static_cast<float>(eta);
  a.c = static_cast<float>(c);
  a.limit = static_cast<float>(limit);
  return a;
}

}  // namespace VRADAM_CORE_NAMESPACE
}  // namespace vradam
