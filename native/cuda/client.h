// The CUDA engine as the addon sees it: an Engine over the plugin's C ABI, whose steps can also be enqueued.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/engine.h"
#include "abi.h"

namespace vradam {

// Throws EngineFailure with the sentence of a status other than kOk.
void demand(CudaStatus status, const CudaFailure& failure);

class CudaClient : public Engine {
 public:
  // `api` lives as long as the process. With halt_on_refusal, steps behind a refused one do nothing until
  // `resume`.
  CudaClient(const CudaApi& api, EngineSettings settings, bool halt_on_refusal, CudaLaunches launches);
  ~CudaClient() override;
  CudaClient(const CudaClient&) = delete;
  CudaClient& operator=(const CudaClient&) = delete;

  const EngineSettings& settings() const override { return settings_; }
  const std::vector<TensorShape>& tensors() const override { return tensors_; }
  bool reaches(Memory) const override { return true; }

  std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size) override;
  void remove_tensor(std::uint32_t tensor) override;
  // Waits for the step. On device memory, which may be another library's, also for all that the device was
  // given before.
  StepResult step(const StepArguments& arguments) override;
  std::uint64_t read_state(std::uint32_t tensor, float* const* arrays) override;
  void write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) override;
  void forget_accumulated() override;

  // Enqueues a step on device memory and returns its number, from 0; every step has one. Not where gradients
  // are accumulated: how many calls a step has is known when each is waited for.
  std::uint64_t enqueue(const TensorBuffers* tensors, const StepScalars* scalars);
  // Reports of `count` steps from number `first`; waits for them.
  void reports(std::uint64_t first, std::uint64_t count, double* reports);
  // Waits for everything that is enqueued. On any thread.
  void synchronize();
  // Whether a refused step is known to have halted the engine. Does not wait.
  bool halted() const;
  void resume();

 private:
  const CudaApi& api_;
  EngineSettings settings_;
  std::vector<TensorShape> tensors_;
  CudaEngine* engine_ = nullptr;
};

}  // namespace vradam
