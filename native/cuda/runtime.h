// What the engine needs of a device: memory, copies, launches. Two builds: gpu_runtime.cu on a GPU,
// emulated_runtime.cpp on the host.
#pragma once

#include <cstdint>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>

#include "../core/cuda_abi.h"
#include "step_view.h"

namespace vradam {
namespace cuda {

// There is no device to work with.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The device has not enough memory; nothing has changed.
struct OutOfDeviceMemory : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The device failed; what it held is lost.
struct DeviceLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The memory is not this device's; nothing has changed.
struct Misplaced : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What takes work in order.
using Stream = void*;

// How a step is launched on this device.
struct LaunchPlan {
  bool one_launch = false;
  std::uint32_t blocks = 0;  // of the one launch
  std::uint32_t kept = 0;
  std::uint64_t shared_bytes = 0;
};

namespace runtime {

// Throws Unavailable with the reason.
CudaDevice probe();

// The stream of this process. Throws Unavailable, DeviceLost.
Stream stream();

// Zeroed; null for no bytes. Throws OutOfDeviceMemory.
void* allocate(std::uint64_t bytes);
// Waits for whatever may use it.
void release(void* memory) noexcept;

// In the order of the stream. Host memory is free again at return. Downloads wait.
void upload(Stream stream, void* device, const void* host, std::uint64_t bytes);
void download(Stream stream, const void* device, void* host, std::uint64_t bytes);
void copy(Stream stream, void* to, const void* from, std::uint64_t bytes);
void zero(Stream stream, void* device, std::uint64_t bytes);
void synchronize(Stream stream);

// Streams for copies beside what runs on `stream()`. The memory that copies go through is there afterwards,
// so that none of them fails for want of it. Throws std::bad_alloc, DeviceLost.
struct CopyStreams {
  Stream up;
  Stream down;
};
CopyStreams copy_streams();
// What is enqueued on `after` from now on waits for what was enqueued on `before`.
void order(Stream before, Stream after);
// Chunks that travel between two orders, when a step is on the host's memory.
std::uint64_t chunks_per_part();

// Memory of another library: throws Misplaced unless it is this device's.
void require_device_memory(const void* memory);
// Waits for everything that anybody has given the device.
void synchronize_device();

// A word in the host's memory that the device can write, zero. `device_address` is the device's name for it.
struct HostWord {
  volatile std::uint32_t* host = nullptr;
  std::uint32_t* device = nullptr;
};
HostWord allocate_word();
void release_word(const HostWord& word) noexcept;

LaunchPlan plan_launches(CudaLaunches wanted, std::uint64_t chunks, std::uint32_t groups);

void launch_whole_step(Stream stream, const LaunchPlan& plan, const StepView& step);
void launch_norm_pass(Stream stream, const StepView& step);
void launch_penalty_pass(Stream stream, const StepView& step);
void launch_reduce_pass(Stream stream, const Runs& from, const Runs& to, std::uint32_t runs,
                        std::uint64_t results);
void launch_settle_norm(Stream stream, const StepView& step);
void launch_settle(Stream stream, const StepView& step);
void launch_update_pass(Stream stream, const StepView& step);

// Launches that were recorded, to be enqueued as one.
struct Sequence;
// Records what `launches` launches on the stream that it is given. Null where that fails, which changes
// nothing.
Sequence* record(const std::function<void(Stream)>& launches);
void enqueue(Stream stream, const Sequence* sequence);
// Does not wait: what is enqueued goes on.
void release_sequence(Sequence* sequence) noexcept;

// As the interface says.
double time_copy(std::uint64_t bytes);
void start_clock();
double stop_clock();

}  // namespace runtime
}  // namespace cuda
}  // namespace vradam
