#include "tensorflow_host.h"

#include <map>
#include <utility>

namespace {

using tensorflow_host::Memory;
using tensorflow_host::Value;

constexpr int kOk = 0;
constexpr int kUnimplemented = 12;
constexpr int kOutOfRange = 11;
constexpr int kResourceExhausted = 8;

int alive = 0;

}  // namespace

struct TF_Status {
  int code = kOk;
  std::string message;
};

struct TF_Tensor {
  Value value;
};

struct TF_OpDefinitionBuilder {
  std::string op;
  std::vector<std::string> specifications;
};

struct TF_OpKernelContext {
  Memory* memory;
  const std::vector<Value>* inputs;
  std::vector<Value> outputs;
  std::string failure;
};

struct TF_KernelBuilder {
  std::string op;
  std::string device;
  void (*compute)(void*, TF_OpKernelContext*);
  std::vector<std::string> host_arguments;
};

namespace {

std::map<std::string, std::vector<std::string>> ops;
std::map<std::pair<std::string, std::string>, TF_KernelBuilder> kernels;
std::string refused_device;

void set(TF_Status* status, int code, const std::string& message) {
  status->code = code;
  status->message = message;
}

}  // namespace

extern "C" {

TF_Status* TF_NewStatus() {
  ++alive;
  return new TF_Status();
}
void TF_DeleteStatus(TF_Status* status) {
  --alive;
  delete status;
}
void TF_SetStatus(TF_Status* status, int code, const char* message) {
  set(status, code, message);
}
int TF_GetCode(const TF_Status* status) {
  return status->code;
}
const char* TF_Message(const TF_Status* status) {
  return status->message.c_str();
}

TF_OpDefinitionBuilder* TF_NewOpDefinitionBuilder(const char* op) {
  return new TF_OpDefinitionBuilder{op, {}};
}
void TF_OpDefinitionBuilderAddAttr(TF_OpDefinitionBuilder* builder, const char* specification) {
  builder->specifications.emplace_back(specification);
}
void TF_OpDefinitionBuilderAddInput(TF_OpDefinitionBuilder* builder, const char* specification) {
  builder->specifications.emplace_back(specification);
}
void TF_OpDefinitionBuilderAddOutput(TF_OpDefinitionBuilder* builder, const char* specification) {
  builder->specifications.emplace_back(specification);
}
void TF_OpDefinitionBuilderSetIsStateful(TF_OpDefinitionBuilder*, bool) {}
void TF_OpDefinitionBuilderSetShapeInferenceFunction(TF_OpDefinitionBuilder*, void (*)(void*, TF_Status*)) {}
void TF_ShapeInferenceContextSetUnknownShape(void*, TF_Status*) {}
void TF_RegisterOpDefinition(TF_OpDefinitionBuilder* builder, TF_Status* status) {
  ops[builder->op] = builder->specifications;
  delete builder;
  set(status, kOk, "");
}

TF_KernelBuilder* TF_NewKernelBuilder(const char* op, const char* device, void* (*)(void*),
                                      void (*compute)(void*, TF_OpKernelContext*), void (*)(void*)) {
  return new TF_KernelBuilder{op, device, compute, {}};
}
void TF_KernelBuilder_HostMemory(TF_KernelBuilder* builder, const char* argument) {
  builder->host_arguments.emplace_back(argument);
}
void TF_RegisterKernelBuilder(const char*, TF_KernelBuilder* builder, TF_Status* status) {
  const bool refused = builder->device == refused_device;
  if (!refused) kernels.emplace(std::pair(builder->op, builder->device), *builder);
  delete builder;
  set(status, refused ? kUnimplemented : kOk, refused ? "no kernels for this device" : "");
}

int TF_NumInputs(TF_OpKernelContext* context) {
  return static_cast<int>(context->inputs->size());
}
void TF_GetInput(TF_OpKernelContext* context, int index, TF_Tensor** tensor, TF_Status* status) {
  if (index < 0 || index >= TF_NumInputs(context))
    return set(status, kOutOfRange, "input index out of range");
  ++alive;
  *tensor = new TF_Tensor{(*context->inputs)[static_cast<std::size_t>(index)]};
  set(status, kOk, "");
}
TF_Tensor* TF_AllocateOutput(TF_OpKernelContext* context, int index, int type, const std::int64_t* dimensions,
                             int rank, std::size_t bytes, TF_Status* status) {
  void* const memory = bytes == 0 ? nullptr : context->memory->allocate(bytes);
  if (memory == nullptr && bytes != 0) {
    set(status, kResourceExhausted, "OOM when allocating an output");
    return nullptr;
  }
  const Value value = {type, {dimensions, dimensions + rank}, memory, bytes};
  const auto place = static_cast<std::size_t>(index);
  if (context->outputs.size() <= place) context->outputs.resize(place + 1);
  context->outputs[place] = value;
  set(status, kOk, "");
  ++alive;
  return new TF_Tensor{value};
}
void TF_OpKernelContext_Failure(TF_OpKernelContext* context, TF_Status* status) {
  context->failure = status->message;
}

int TF_TensorType(const TF_Tensor* tensor) {
  return tensor->value.type;
}
int TF_NumDims(const TF_Tensor* tensor) {
  return static_cast<int>(tensor->value.shape.size());
}
std::int64_t TF_Dim(const TF_Tensor* tensor, int axis) {
  return tensor->value.shape[static_cast<std::size_t>(axis)];
}
std::size_t TF_TensorByteSize(const TF_Tensor* tensor) {
  return tensor->value.bytes;
}
void* TF_TensorData(const TF_Tensor* tensor) {
  return tensor->value.data;
}
void TF_DeleteTensor(TF_Tensor* tensor) {
  --alive;
  delete tensor;
}

}  // extern "C"

namespace tensorflow_host {

std::vector<std::string> signature(const std::string& op) {
  return ops[op];
}

std::vector<std::string> host_arguments(const std::string& op, const std::string& device) {
  return kernels.at({op, device}).host_arguments;
}

void refuse_kernels(const std::string& device) {
  refused_device = device;
}

Outcome run(const std::string& op, const std::string& device, Memory& memory,
            const std::vector<Value>& inputs) {
  TF_OpKernelContext context{&memory, &inputs, {}, ""};
  kernels.at({op, device}).compute(nullptr, &context);
  if (!context.failure.empty()) {
    for (const Value& output : context.outputs) memory.release(output.data);
    return {context.failure, {}};
  }
  return {"", context.outputs};
}

int living() {
  return alive;
}

}  // namespace tensorflow_host
