#include "client.h"

#include <limits>
#include <utility>

namespace vradam {

void demand(CudaStatus status, const CudaFailure& failure) {
  if (status != CudaStatus::kOk) throw EngineFailure(failure.sentence, status == CudaStatus::kOutOfMemory);
}

CudaClient::CudaClient(const CudaApi& api, EngineSettings settings, bool halt_on_refusal,
                       CudaLaunches launches)
    : api_(api), settings_(std::move(settings)) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const CudaSettings plain = {settings_.groups.data(),
                              static_cast<std::uint32_t>(settings_.groups.size()),
                              settings_.rule,
                              settings_.clip_norm.value_or(kNone),
                              settings_.clip_value.value_or(kNone),
                              settings_.average_decay.value_or(kNone),
                              settings_.accumulate_steps,
                              settings_.check_gradients,
                              halt_on_refusal,
                              launches};
  CudaFailure failure{};
  demand(api_.create(&plain, &engine_, &failure), failure);
}

CudaClient::~CudaClient() {
  api_.destroy(engine_);
}

std::uint32_t CudaClient::add_tensor(std::uint32_t group, std::uint64_t size) {
  tensors_.reserve(tensors_.size() + 1);
  CudaFailure failure{};
  demand(api_.add_tensor(engine_, group, size, &failure), failure);
  tensors_.push_back({group, size});
  return static_cast<std::uint32_t>(tensors_.size() - 1);
}

void CudaClient::remove_tensor(std::uint32_t tensor) {
  CudaFailure failure{};
  demand(api_.remove_tensor(engine_, tensor, &failure), failure);
  tensors_.erase(tensors_.begin() + tensor);
}

StepResult CudaClient::step(const StepArguments& arguments) {
  StepResult result(settings_.groups.size());
  const auto step = arguments.memory == Memory::kDevice ? api_.step_on_device : api_.step_on_host;
  CudaFailure failure{};
  demand(step(engine_, arguments.tensors, arguments.scalars, result.data(), &failure), failure);
  return result;
}

std::uint64_t CudaClient::read_state(std::uint32_t tensor, float* const* arrays) {
  CudaFailure failure{};
  std::uint64_t steps = 0;
  demand(api_.read_state(engine_, tensor, arrays, &steps, &failure), failure);
  return steps;
}

void CudaClient::write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) {
  CudaFailure failure{};
  demand(api_.write_state(engine_, tensor, arrays, steps, &failure), failure);
}

void CudaClient::forget_accumulated() {
  CudaFailure failure{};
  demand(api_.forget_accumulated(engine_, &failure), failure);
}

std::uint64_t CudaClient::enqueue(const TensorBuffers* tensors, const StepScalars* scalars) {
  CudaFailure failure{};
  std::uint64_t number = 0;
  demand(api_.enqueue(engine_, tensors, scalars, &number, &failure), failure);
  return number;
}

void CudaClient::reports(std::uint64_t first, std::uint64_t count, double* reports) {
  CudaFailure failure{};
  demand(api_.reports(engine_, first, count, reports, &failure), failure);
}

void CudaClient::synchronize() {
  CudaFailure failure{};
  demand(api_.synchronize(engine_, &failure), failure);
}

bool CudaClient::halted() const {
  return api_.halted(engine_) != 0;
}

void CudaClient::resume() {
  CudaFailure failure{};
  demand(api_.resume(engine_, &failure), failure);
}

}  // namespace vradam
