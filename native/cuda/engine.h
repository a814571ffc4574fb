// The CUDA engine on the host's side: owns state and tables in device memory, and enqueues steps.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "../core/plan.h"
#include "abi.h"
#include "runtime.h"
#include "step_view.h"

namespace vradam {
namespace cuda {

// Owned device memory for a number of T that only grows.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::uint64_t count)
      : data_(static_cast<T*>(runtime::allocate(count * sizeof(T)))), capacity_(count) {}
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~DeviceArray() { runtime::release(data_); }

  T* data() const { return data_; }

  // An array of at least `count` with the same content, to be moved here once everything else is there too;
  // an empty one where this one suffices.
  DeviceArray grown(Stream stream, std::uint64_t count) const {
    if (count <= capacity_) return {};
    DeviceArray larger(count < 2 * capacity_ ? 2 * capacity_ : count);
    runtime::copy(stream, larger.data_, data_, capacity_ * sizeof(T));
    return larger;
  }
  void adopt(DeviceArray&& larger) {
    if (larger.data_ != nullptr) *this = std::move(larger);
  }

 private:
  T* data_ = nullptr;
  std::uint64_t capacity_ = 0;
};

}  // namespace cuda

// Throws what runtime.h says. After DeviceLost every call throws it again.
class CudaEngine {
 public:
  explicit CudaEngine(const CudaSettings& settings);
  ~CudaEngine();
  CudaEngine(const CudaEngine&) = delete;
  CudaEngine& operator=(const CudaEngine&) = delete;

  void add_tensor(std::uint32_t group, std::uint64_t size);
  void remove_tensor(std::uint32_t tensor);
  std::uint64_t enqueue(const TensorBuffers* tensors, const StepScalars* rates);
  void step_on_host(const TensorBuffers* tensors, const StepScalars* rates, double* report);
  void step_on_device(const TensorBuffers* tensors, const StepScalars* rates, double* report);
  void forget_accumulated();
  void synchronize();
  void reports(std::uint64_t first, std::uint64_t count, double* reports);
  bool halted() const { return *halted_ != 0; }
  void resume();
  void read_state(std::uint32_t tensor, float* const* arrays, std::uint64_t* steps);
  void write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps);

 private:
  // Sums are reduced 4096 to 1 until a run has at most as many: from any number of chunks in two levels.
  static constexpr std::size_t kLevels = 3;

  struct Reduction {
    cuda::DeviceArray<double> values[kLevels];
    cuda::DeviceArray<std::uint64_t> begin[kLevels];
    std::vector<std::uint64_t> counts[kLevels];  // begin, on the host
    std::size_t levels = 1;                      // in use by the current layout

    cuda::Runs runs(std::size_t level) const { return {values[level].data(), begin[level].data()}; }
  };

  struct Tensor {
    std::vector<cuda::DeviceArray<float>> state;
    // Where gradients are accumulated.
    cuda::DeviceArray<double> accumulated;
    cuda::DeviceArray<float> mean;
    // The same as the caller's memory, for steps on the host's.
    cuda::DeviceArray<float> parameter;
    cuda::DeviceArray<float> gradient;
  };

  bool accumulates() const { return plan_.settings().accumulate_steps != 1; }
  // Runs f; what it throws as DeviceLost is remembered.
  template <typename F>
  auto on_device(const F& f);
  // Brings the device's tables up to date.
  void prepare(const TensorBuffers* tensors, const StepScalars* rates);
  void lay_out(const TensorBuffers* tensors);
  void lay_out_levels(Reduction& reduction, const std::vector<std::uint64_t>& begin);
  void upload_tables(const TensorBuffers* tensors, const StepScalars* rates);
  cuda::StepView view() const;
  void upload(void* device, const void* host, std::uint64_t bytes) const;
  void download(const void* device, void* host, std::uint64_t bytes) const;
  void launch_passes(const cuda::StepView& step) const;
  // A step on the host's memory: all of it copied before and after, or in parts, so that copies overlap with
  // passes. Bytes that were copied.
  std::uint64_t step_at_once(const TensorBuffers* host, TensorBuffers* device, const StepScalars* rates,
                             double* report);
  std::uint64_t step_in_parts(const TensorBuffers* host, const TensorBuffers* device,
                              const StepScalars* rates, double* report);
  template <typename F>
  void bring_back(const F& f);
  // Runs f(tensor, first element, elements) for what active tensors have in a range of chunks.
  template <typename F>
  void each_piece(std::uint64_t first_chunk, std::uint64_t end_chunk, const F& f) const;
  void reduce(const Reduction& reduction) const;
  // Takes the gradients of a call. Returns whether the step is due; where that is of several calls, its
  // gradients are their means from then on. Where it is not, writes the report.
  bool take_gradients(TensorBuffers* tensors, const StepScalars* rates, double* report);
  cuda::StepView view_of_call() const;
  StepOutcome step_and_wait(const TensorBuffers* tensors, const StepScalars* rates, double* report);
  // Waits for a step and reads its report; a refusal is thereby known, and halts nothing more.
  StepOutcome conclude(std::uint64_t step, double* report, bool may_have_changed = true);
  std::uint64_t report_width() const;

  Plan plan_;
  bool halts_;
  CudaLaunches launches_;
  cuda::Stream stream_;
  std::vector<Tensor> memory_;
  std::uint64_t steps_enqueued_ = 0;
  std::uint32_t accumulated_ = 0;  // calls whose gradients wait
  std::atomic<bool> lost_{false};
  std::string why_lost_;

  // What the device's tables hold, so that only changes are uploaded.
  std::vector<cuda::TensorEntry> entries_;
  std::vector<cuda::ChunkEntry> chunk_entries_;
  std::vector<StepScalars> rates_;
  bool entries_stale_ = true;
  bool layout_stale_ = true;
  bool reads_ = false;
  cuda::LaunchPlan launch_plan_;

  // A step was begun and not all of its launches went out.
  bool unfinished_ = false;

  cuda::DeviceArray<cuda::TensorEntry> device_entries_;
  cuda::DeviceArray<cuda::ChunkEntry> device_chunks_;
  std::vector<cuda::GroupEntry> group_entries_;
  cuda::DeviceArray<cuda::GroupEntry> device_groups_;
  cuda::DeviceArray<cuda::GroupEntry> device_checking_;  // the same for a call whose gradients wait
  cuda::DeviceArray<StepScalars> device_rates_;
  cuda::DeviceArray<std::uint64_t> steps_;
  cuda::DeviceArray<cuda::TensorScalars> scalars_;
  cuda::DeviceArray<std::int32_t> magnitudes_;  // of this step and the next, taking turns
  cuda::DeviceArray<cuda::Decision> decision_;
  cuda::DeviceArray<cuda::GroupDecision> group_decisions_;
  cuda::DeviceArray<cuda::Control> control_;
  cuda::DeviceArray<double> reports_;
  Reduction norms_;
  Reduction penalties_;
  volatile std::uint32_t* halted_ = nullptr;  // pinned, so that the device can write it
};

}  // namespace vradam
