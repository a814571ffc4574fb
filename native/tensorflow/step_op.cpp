#include "step_op.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <variant>
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

// Where the op runs, and with it its inputs and outputs lie.
enum class Device { kCpu, kGpu };

// The op at work.
struct Call {
  KernelContext* context;
  const OwnStatus& status;
  Device device;
};

std::unique_lock<std::mutex> lock_or_fail(std::mutex& mutex) {
  std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
  if (!lock) throw Failure{"ERR_VRADAM_ENGINE", "A step of this optimizer is under way"};
  return lock;
}

// The inputs and outputs of the op, held until the step is done.
struct Tensors {
  std::vector<TensorBuffers> buffers;  // in the engine's order
  std::vector<OwnTensor> held;
};

template <typename SizeOf>
Tensors take_tensors(const StepSlot& slot, const Call& call, std::size_t engine_tensors,
                     const SizeOf& size_of) {
  const int count = static_cast<int>(slot.tensors.size());
  if (tf.TF_NumInputs(call.context) != 1 + 2 * count) {
    mismatch("Expected " + std::to_string(count) + " parameters and gradients for VRAdamStep");
  }
  Tensors taken;
  taken.buffers.resize(engine_tensors);
  taken.held.reserve(3 * slot.tensors.size());
  std::vector<std::int64_t> dimensions;
  for (int i = 0; i < count; ++i) {
    const std::uint32_t tensor = slot.tensors[static_cast<std::size_t>(i)];
    if (tensor >= engine_tensors) mismatch("The tensors of the step are no longer those of the engine");
    TensorBuffers& its = taken.buffers[tensor];
    OwnTensor parameters = float_input(call.context, 1 + i, size_of(tensor), call.status);
    OwnTensor gradient = float_input(call.context, 1 + count + i, size_of(tensor), call.status);
    OwnTensor next = output(call.context, i, parameters.get(), call.status, dimensions);
    its.p_in = static_cast<const float*>(tf.TF_TensorData(parameters.get()));
    its.p_out = static_cast<float*>(tf.TF_TensorData(next.get()));
    its.gradient = tf.TF_TensorData(gradient.get());
    its.active = true;
    taken.held.push_back(std::move(parameters));
    taken.held.push_back(std::move(gradient));
    taken.held.push_back(std::move(next));
  }
  return taken;
}

StepResult step(CpuEngine& engine, const StepSlot& slot, const Call& call) {
  if (call.device == Device::kGpu) {
    throw Failure{"ERR_VRADAM_ENGINE",
                  "TensorFlow keeps these tensors on a GPU, which the engine cpu does not reach"};
  }
  const auto lock = lock_or_fail(engine.mutex());
  const std::vector<TensorShape>& shapes = engine.plan().tensors();
  const Tensors tensors =
      take_tensors(slot, call, shapes.size(), [&](std::uint32_t tensor) { return shapes[tensor].size; });
  return engine.step({tensors.buffers.data(), slot.scalars.data(), GradientType::kFloat32});
}

// Writes what the report of a step on the CUDA engine says into a result that has room for its groups: the
// step may be applied by then, and nothing may fail any more.
void read_report(const std::vector<double>& report, StepResult& result) noexcept {
  result.applied = static_cast<std::uint32_t>(report[kReportOutcome]) == kApplied;
  result.gradient_norm = report[kReportGradientNorm];
  result.clip_coefficient = report[kReportClipCoefficient];
  if (report[kReportRefusedTensor] >= 0) {
    result.refusal = Refusal{static_cast<std::uint64_t>(report[kReportRefusedTensor]),
                             static_cast<std::uint64_t>(report[kReportRefusedElement]),
                             static_cast<float>(report[kReportRefusedValue])};
  }
  result.copied_bytes = static_cast<std::uint64_t>(report[kReportCopiedBytes]);
  for (std::size_t k = 0; k < result.penalties.size(); ++k) {
    const double* const group = report.data() + kReportFieldCount + kReportFieldsPerGroup * k;
    result.penalties[k] = group[0];
    result.effective_learning_rates[k] = group[1];
  }
}

// On the GPU, everything that was given to the device is waited for twice: before the step, because
// TensorFlow returns from its own kernels when they are enqueued, on a stream that the C API does not tell
// (TF_GetStream serves devices of plugins only) and that waits for no other; and after it, because what reads
// the outputs, and what next gets the memory of the inputs, is enqueued there as soon as this returns.
// The outputs come first: their memory may be what work that is still enqueued is about to read.
StepResult step(CudaHandle& engine, const StepSlot& slot, const Call& call) {
  const auto lock = lock_or_fail(engine.mutex);
  const Tensors taken = take_tensors(slot, call, engine.sizes.size(),
                                     [&](std::uint32_t tensor) { return engine.sizes[tensor]; });
  std::vector<CudaTensor> tensors(taken.buffers.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorBuffers& its = taken.buffers[i];
    tensors[i] = {its.p_in, its.p_out, its.gradient, its.active ? 1u : 0u, GradientType::kFloat32};
  }
  std::vector<double> report(engine.report_width());
  StepResult result;
  result.penalties.resize(engine.groups.size());
  result.effective_learning_rates.resize(engine.groups.size());
  const auto make_step = call.device == Device::kGpu ? engine.api->step_on_device : engine.api->step_on_host;
  CudaFailure failure{};
  if (make_step(engine.engine, tensors.data(), slot.scalars.data(), report.data(), &failure) !=
      CudaStatus::kOk) {
    throw Failure{"ERR_VRADAM_ENGINE", failure.sentence};
  }
  read_report(report, result);
  return result;
}

// TensorFlow calls this; no exception may reach it.
template <Device kDevice>
void compute(void*, KernelContext* context) noexcept {
  const OwnStatus status(tf.TF_NewStatus());
  const auto fail = [&](const char* message) {
    tf.TF_SetStatus(status.get(), kFailedPrecondition, message);
    tf.TF_OpKernelContext_Failure(context, status.get());
  };
  std::shared_ptr<StepSlot> slot;
  try {
    const OwnTensor number = input(context, 0, status);
    if (tf.TF_TensorType(number.get()) == kInt32 && tf.TF_TensorByteSize(number.get()) == sizeof(int)) {
      slot = find_slot(*static_cast<const std::int32_t*>(tf.TF_TensorData(number.get())));
    }
    if (!slot || slot->state != StepSlot::State::kWaiting) return fail("No step waits for VRAdamStep");
    const Call call = {context, status, kDevice};
    slot->result = std::visit([&](const auto& engine) { return step(*engine, *slot, call); }, slot->engine);
    slot->state = StepSlot::State::kDone;
    // The outputs hold nothing then; failing keeps them from everybody.
    if (!slot->result.applied) fail("The step was refused");
  } catch (const Failure& failure) {
    if (slot) {
      slot->state = StepSlot::State::kFailed;
      slot->code = failure.code;
      slot->message = failure.message;
    }
    fail(failure.message.c_str());
  } catch (const std::bad_alloc&) {
    if (slot) {
      slot->state = StepSlot::State::kFailed;
      slot->code = "ERR_VRADAM_ENGINE";
      slot->message = "Out of memory; nothing has changed";
    }
    fail("Out of memory");
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
  add_kernel("CPU", &compute<Device::kCpu>);
  if (failed()) return tf.TF_Message(status.get());
  // Where this one is refused, TensorFlow brings tensors of its GPU before the one above.
  add_kernel("GPU", &compute<Device::kGpu>);
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
