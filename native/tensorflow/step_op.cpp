#include "step_op.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "runtime.h"
#include "step_slot.h"

namespace vradam::tensorflow {
namespace {

// Written once, before the op is registered.
Api tf;

struct DeleteStatus {
  void operator()(Status* status) const { tf.TF_DeleteStatus(status); }
};
using OwnStatus = std::unique_ptr<Status, DeleteStatus>;

struct DeleteTensor {
  void operator()(Tensor* tensor) const { tf.TF_DeleteTensor(tensor); }
};
// Our reference to the memory, not the memory.
using OwnTensor = std::unique_ptr<Tensor, DeleteTensor>;

struct Failure {
  const char* code;
  std::string message;
};

[[noreturn]] void mismatch(const std::string& message) {
  throw Failure{"ERR_VRADAM_SHAPE", message};
}

void check(const OwnStatus& status) {
  if (tf.TF_GetCode(status.get()) != kOk) throw Failure{"ERR_VRADAM_ENGINE", tf.TF_Message(status.get())};
}

OwnTensor input(KernelContext* context, int index, const OwnStatus& status) {
  Tensor* tensor = nullptr;
  tf.TF_GetInput(context, index, &tensor, status.get());
  OwnTensor own(tensor);
  check(status);
  return own;
}

OwnTensor float_input(KernelContext* context, int index, std::uint64_t size, const OwnStatus& status) {
  OwnTensor tensor = input(context, index, status);
  const std::size_t bytes = tf.TF_TensorByteSize(tensor.get());
  if (tf.TF_TensorType(tensor.get()) != kFloat || bytes != size * sizeof(float)) {
    mismatch("Expected " + std::to_string(size) + " elements of type float for input " +
             std::to_string(index) + " of VRAdamStep but received " + std::to_string(bytes) + " bytes");
  }
  return tensor;
}

// Memory of the shape of `like`, which output `index` then is. `dimensions` is scratch.
OwnTensor output(KernelContext* context, int index, const Tensor* like, const OwnStatus& status,
                 std::vector<std::int64_t>& dimensions) {
  dimensions.resize(static_cast<std::size_t>(tf.TF_NumDims(like)));
  for (std::size_t axis = 0; axis < dimensions.size(); ++axis) {
    dimensions[axis] = tf.TF_Dim(like, static_cast<int>(axis));
  }
  OwnTensor tensor(tf.TF_AllocateOutput(context, index, kFloat, dimensions.data(),
                                        static_cast<int>(dimensions.size()), tf.TF_TensorByteSize(like),
                                        status.get()));
  check(status);
  return tensor;
}

// The op at work, and where its inputs and outputs lie.
struct Call {
  KernelContext* context;
  const OwnStatus& status;
  Memory memory;
};

// The inputs and outputs of the op, held until the step is done.
struct Tensors {
  std::vector<TensorBuffers> buffers;  // in the engine's order
  std::vector<OwnTensor> held;
};

Tensors take_tensors(const StepSlot& slot, const Call& call) {
  const std::vector<TensorShape>& shapes = slot.engine->tensors();
  const int count = static_cast<int>(slot.tensors.size());
  if (tf.TF_NumInputs(call.context) != 1 + 2 * count) {
    mismatch("Expected " + std::to_string(count) + " parameters and gradients for VRAdamStep");
  }
  Tensors taken;
  taken.buffers.resize(shapes.size());
  taken.held.reserve(3 * slot.tensors.size());
  std::vector<std::int64_t> dimensions;
  for (int i = 0; i < count; ++i) {
    const std::uint32_t tensor = slot.tensors[static_cast<std::size_t>(i)];
    TensorBuffers& its = taken.buffers[tensor];
    OwnTensor parameters = float_input(call.context, 1 + i, shapes[tensor].size, call.status);
    OwnTensor gradient = float_input(call.context, 1 + count + i, shapes[tensor].size, call.status);
    OwnTensor next = output(call.context, i, parameters.get(), call.status, dimensions);
    its.p_in = static_cast<const float*>(tf.TF_TensorData(parameters.get()));
    its.p_out = static_cast<float*>(tf.TF_TensorData(next.get()));
    its.gradient = static_cast<const float*>(tf.TF_TensorData(gradient.get()));
    its.active = true;
    taken.held.push_back(std::move(parameters));
    taken.held.push_back(std::move(gradient));
    taken.held.push_back(std::move(next));
  }
  return taken;
}

// On the GPU, everything that was given to the device is waited for twice: before the step, because
// TensorFlow returns from its own kernels when they are enqueued, on a stream that the C API does not tell
// (TF_GetStream serves devices of plugins only) and that waits for no other; and after it, because what reads
// the outputs, and what next gets the memory of the inputs, is enqueued there as soon as this returns.
// The outputs come first: their memory may be what work that is still enqueued is about to read.
StepResult step(const StepSlot& slot, const Call& call) {
  if (!slot.engine->reaches(call.memory)) {
    throw Failure{"ERR_VRADAM_ENGINE",
                  "TensorFlow keeps these tensors on a GPU, which the engine cpu does not reach"};
  }
  const Tensors tensors = take_tensors(slot, call);
  return slot.engine->step({tensors.buffers.data(), slot.scalars.data(), call.memory});
}

// TensorFlow calls this; no exception may reach it.
template <Memory kMemory>
void compute(void*, KernelContext* context) noexcept {
  const OwnStatus status(tf.TF_NewStatus());
  const auto fail = [&](const char* message) {
    tf.TF_SetStatus(status.get(), kFailedPrecondition, message);
    tf.TF_OpKernelContext_Failure(context, status.get());
  };
  std::shared_ptr<StepSlot> slot;
  const auto leave = [&](const Failure& failure) {
    if (slot) {
      slot->state = StepSlot::State::kFailed;
      slot->code = failure.code;
      slot->message = failure.message;
    }
    return failure.message.c_str();
  };
  try {
    const OwnTensor number = input(context, 0, status);
    if (tf.TF_TensorType(number.get()) == kInt32 && tf.TF_TensorByteSize(number.get()) == sizeof(int)) {
      slot = find_slot(*static_cast<const std::int32_t*>(tf.TF_TensorData(number.get())));
    }
    if (!slot || slot->state != StepSlot::State::kWaiting) return fail("No step waits for VRAdamStep");
    const Call call = {context, status, kMemory};
    slot->result = step(*slot, call);
    slot->state = StepSlot::State::kDone;
    // The outputs hold nothing then; failing keeps them from everybody.
    if (!slot->result.applied()) fail("The step was refused");
  } catch (const Failure& failure) {
    fail(leave(failure));
  } catch (const EngineFailure& failure) {
    fail(leave({failure.code, failure.what()}));
  } catch (const std::bad_alloc&) {
    fail(leave({"ERR_VRADAM_ENGINE", "Out of memory; nothing has changed"}));
  }
}

// Returns what is wrong, or an empty string.
std::string define(const std::string& name) {
  const OwnStatus status(tf.TF_NewStatus());
  const auto failed = [&] { return tf.TF_GetCode(status.get()) != kOk; };

  OpDefinitionBuilder* const op = tf.TF_NewOpDefinitionBuilder(name.c_str());
  // Nothing but N: every new value of an attribute builds a kernel that TensorFlow keeps.
  tf.TF_OpDefinitionBuilderAddAttr(op, "N: int >= 1");
  tf.TF_OpDefinitionBuilderAddInput(op, "slot: int32");
  tf.TF_OpDefinitionBuilderAddInput(op, "params: N * float");
  tf.TF_OpDefinitionBuilderAddInput(op, "grads: N * float");
  tf.TF_OpDefinitionBuilderAddOutput(op, "out: N * float");
  tf.TF_OpDefinitionBuilderSetIsStateful(op, true);
  tf.TF_OpDefinitionBuilderSetShapeInferenceFunction(op, [](ShapeInference* shapes, Status* inferred) {
    tf.TF_ShapeInferenceContextSetUnknownShape(shapes, inferred);
  });
  tf.TF_RegisterOpDefinition(op, status.get());
  if (failed()) return tf.TF_Message(status.get());

  const auto add_kernel = [&](const char* device, void (*compute_there)(void*, KernelContext*)) {
    KernelBuilder* const kernel =
        tf.TF_NewKernelBuilder(name.c_str(), device, nullptr, compute_there, nullptr);
    // The number of the slot is read here, wherever the tensors are.
    tf.TF_KernelBuilder_HostMemory(kernel, "slot");
    tf.TF_RegisterKernelBuilder((name + "_" + device).c_str(), kernel, status.get());
  };
  add_kernel("CPU", &compute<Memory::kHost>);
  if (failed()) return tf.TF_Message(status.get());
  // Where this one is refused, TensorFlow brings tensors of its GPU before the one above.
  add_kernel("GPU", &compute<Memory::kDevice>);
  return "";
}

}  // namespace

StepOp register_step_op() {
  static std::mutex* const mutex = new std::mutex();
  static StepOp* const op = new StepOp();
  const std::lock_guard<std::mutex> lock(*mutex);
  if (!op->name.empty()) return *op;
  // TensorFlow may be loaded later than we are; a failed registration cannot be tried again.
  static bool tried = false;
  if (tried) return *op;
  Api found;
  const std::string lacking = find_runtime(found);
  if (!lacking.empty()) return {"", lacking};
  tf = found;
  tried = true;
  // A process may hold two copies of this library, each with code and engines of its own. The address of what
  // each has only one of tells them apart.
  static const char hexadecimal[] = "0123456789abcdef";
  std::string name = "VRAdamStep";
  for (std::uintptr_t address = reinterpret_cast<std::uintptr_t>(&tf); address != 0; address >>= 4) {
    name += hexadecimal[address & 15];
  }
  const std::string wrong = define(name);
  if (wrong.empty()) {
    op->name = name;
  } else {
    op->reason = "TensorFlow does not take the op VRAdamStep: " + wrong;
  }
  return *op;
}

}  // namespace vradam::tensorflow
