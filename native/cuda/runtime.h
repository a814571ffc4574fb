// What the engine needs of a device: memory, copies, launches. Two builds: gpu_runtime.cu on a GPU,
// test/native/emulated_runtime.cpp on the host.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>

#include "abi.h"
#include "step_view.h"

namespace vradam {
namespace cuda {

// There is no device to work with, or it refused a command and goes on; nothing has changed.
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

// Each function throws Unavailable or DeviceLost where the device does not do what it is told, and leaves the
// calling thread's current device as it was.
namespace runtime {

// Throws Unavailable with the reason.
CudaDevice probe();

// The stream of this process.
Stream stream();

// Zeroed, for any stream; null for no bytes. Throws OutOfDeviceMemory.
void* allocate(std::uint64_t bytes);
// What is enqueued may go on using it.
void release(void* memory) noexcept;

// Memory of the host that copies go to and from, zeroed; the device has it under the same address. Throws
// std::bad_alloc.
void* allocate_pinned(std::uint64_t bytes);
// Waits for whatever may use it.
void release_pinned(void* memory) noexcept;

// In the order of the stream; neither waits. Either side of a copy is device memory or pinned.
void copy(Stream stream, void* to, const void* from, std::uint64_t bytes);
void zero(Stream stream, void* device, std::uint64_t bytes);
void synchronize(Stream stream);

// Streams for copies beside what runs on `stream()`.
struct CopyStreams {
  Stream up;
  Stream down;
};
CopyStreams copy_streams();
// What is enqueued on `after` from now on waits for what was enqueued on `before`.
void order(Stream before, Stream after);
// Chunks that travel between two orders, when a step is on the host's memory.
std::uint64_t chunks_per_part();

// A place in a stream, for the host to wait for; one that was never set is reached.
struct Mark;
Mark* make_mark();
void set_mark(Mark* mark, Stream stream);
void wait_for(Mark* mark);
// Bytes of the pieces in which copies of the host's memory travel.
std::uint64_t piece_bytes();

// Memory of another library: throws Misplaced unless it is this device's.
void require_device_memory(const void* memory);
// Waits for everything that anybody has given the device.
void synchronize_device();

LaunchPlan plan_launches(CudaLaunches wanted, std::uint64_t chunks, std::uint32_t groups);

// False where the device cannot hold all blocks of the plan at once; then nothing was launched.
bool launch_whole_step(Stream stream, const LaunchPlan& plan, const StepView& step);
void launch_norm_pass(Stream stream, const StepView& step);
void launch_penalty_pass(Stream stream, const StepView& step);
void launch_reduce_pass(Stream stream, const Runs& from, const Runs& to, std::uint32_t runs,
                        std::uint64_t results);
void launch_settle_norm(Stream stream, const StepView& step);
void launch_settle(Stream stream, const StepView& step);
void launch_update_pass(Stream stream, const StepView& step);
void launch_accumulate_pass(Stream stream, const StepView& step, std::uint32_t calls);

// As the interface says.
void start_clock();
double stop_clock();

}  // namespace runtime
}  // namespace cuda
}  // namespace vradam
