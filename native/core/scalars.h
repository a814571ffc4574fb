// The numbers a step is made of, as plain data shared by every engine.
#pragma once

#include <cstdint>

namespace vradam {

// Hyperparameters of one group, checked by the caller. The learning rate comes with every step.
struct GroupSettings {
  double beta1;
  double beta2;
  double beta3;
  double epsilon;
  double weight_decay;
  double power;
  double lr_cutoff;
  bool norm_grad;
  bool maximize;
};

// What a step reads from memory instead of from arguments, so that a compiled TensorFlow graph stays valid
// while rates change. One per group.
struct StepScalars {
  double learning_rate;
  double gradient_scale;
  double sign;  // -1 climbs, +1 descends
};

// Scalars of the elementwise rule for one tensor in one step: made in double, rounded to float32 once.
struct UpdateScalars {
  float b1;     // beta1
  float o1;     // 1 - beta1
  float b2;     // beta2
  float o2;     // 1 - beta2
  float r1;     // 1 / (1 - beta1^t)
  float r2;     // 1 / (1 - beta2^t)
  float eps;    // epsilon
  float wd;     // weight decay
  float eta;    // effective learning rate
  float c;      // sign * gradient scale * clip coefficient
  float limit;  // to which c*g is cut on either side; infinite for none
};

}  // namespace vradam
