// The op VRAdamStep: one step of an engine, inside TensorFlow's runtime.
#pragma once

#include <string>

namespace vradam::tensorflow {

// Either a name or a reason why there is none.
struct StepOp {
  std::string name;
  std::string reason;
};

// Registers the op with the TensorFlow of this process the first time that there is one, and says its name.
// Any thread may call it at any time: TensorFlow ends the process where one name is registered twice.
//
//   slot: int32, params: N * float, grads: N * float -> out: N * float
//
// It has a kernel for TensorFlow's CPU, on which either engine makes the step, and one for its GPU, on which
// the CUDA engine does, where the tensors are. The step itself waits in the slot of that number
// (step_slot.h). Outputs are fresh memory: whoever holds an input keeps seeing the values it had. An op that
// fails leaves why in the slot, and no outputs.
StepOp register_step_op();

}  // namespace vradam::tensorflow
