// The runtime on a GPU: the passes as kernels, and memory and copies through the CUDA runtime library.
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "passes.cuh"
#include "reasons.h"
#include "runtime.h"

namespace vradam {
namespace cuda {
namespace {

// Blocks on a multiprocessor of the one launch: half of its registers each, for loads in flight.
constexpr int kBlocksPerMultiprocessor = 2;

#if !defined(VRADAM_SMALL_DEVICE)

// 16 MiB of each array: some hundred microseconds on their way, against some for a launch.
constexpr std::uint64_t kChunksPerPart = 1024;

// Some ten microseconds on their way.
constexpr std::uint64_t kPieceBytes = 1u << 20;

// Blocks of a pass; more chunks than this and blocks take several.
constexpr std::uint64_t kMostBlocks = 1u << 30;

#else

// So that tests take all of these turns with little data.
constexpr std::uint64_t kChunksPerPart = 5;
constexpr std::uint64_t kPieceBytes = 1000;
constexpr std::uint64_t kMostBlocks = 30;

#endif

class Threads {
 public:
  template <typename F>
  __device__ __forceinline__ void each(const F& f) const {
    f(threadIdx.x);
  }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  __device__ __forceinline__ void sync_warp() const { __syncwarp(); }
  __device__ __forceinline__ unsigned block() const { return blockIdx.x; }
  __device__ __forceinline__ unsigned blocks() const { return gridDim.x; }
};

__device__ __forceinline__ Shared shared_of(std::uint32_t kept) {
  extern __shared__ __align__(16) unsigned char memory[];
  float* const floats = reinterpret_cast<float*>(memory + sizeof(BlockMemory));
  return {reinterpret_cast<BlockMemory*>(memory), floats + kept * kChunk, floats};
}

template <Rules kRules>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    whole_step_kernel(const __grid_constant__ StepView step) {
  const Threads threads;
  const Shared shared = shared_of(step.kept);
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  look_up_chunks(threads, shared, step);
  if (step.clips) {
    norm_pass<false>(threads, shared, step);
    grid.sync();
  }
  penalty_pass<false, kRules>(threads, shared, step);
  grid.sync();
  update_pass<false, kRules>(threads, shared, step);
}

__global__ void __launch_bounds__(kThreads) norm_kernel(const __grid_constant__ StepView step) {
  norm_pass<true>(Threads(), shared_of(0), step);
}

template <Rules kRules>
__global__ void __launch_bounds__(kThreads, 3) penalty_kernel(const __grid_constant__ StepView step) {
  penalty_pass<true, kRules>(Threads(), shared_of(0), step);
}

__global__ void __launch_bounds__(kThreads)
    reduce_kernel(const __grid_constant__ Runs from, const __grid_constant__ Runs to, std::uint32_t runs) {
  reduce_pass(Threads(), shared_of(0), from, to, runs);
}

__global__ void __launch_bounds__(kThreads) settle_norm_kernel(const __grid_constant__ StepView step) {
  settle_norm(Threads(), shared_of(0), step, step.decision);
}

__global__ void __launch_bounds__(kThreads) settle_kernel(const __grid_constant__ StepView step) {
  settle(Threads(), shared_of(0), step, step.decision, step.group_decisions);
}

template <Rules kRules>
__global__ void __launch_bounds__(kThreads, 3) update_kernel(const __grid_constant__ StepView step) {
  update_pass<true, kRules>(Threads(), shared_of(0), step);
}

__global__ void __launch_bounds__(kThreads)
    accumulate_kernel(const __grid_constant__ StepView step, std::uint32_t calls) {
  accumulate_pass(Threads(), shared_of(0), step, calls);
}

template <typename... Parameters>
const void* address_of(void (*kernel)(Parameters...)) {
  return reinterpret_cast<const void*>(kernel);
}

// Those that some rules have for themselves.
struct KernelsOfRules {
  const void* whole_step;
  const void* penalty;
  const void* update;
};

template <Rules kRules>
const KernelsOfRules kKernelsOf = {address_of(whole_step_kernel<kRules>), address_of(penalty_kernel<kRules>),
                                   address_of(update_kernel<kRules>)};

const KernelsOfRules& kernels_of(Rules rules) {
  return rules == Rules::kAdam ? kKernelsOf<Rules::kAdam> : kKernelsOf<Rules::kOthers>;
}

// Those of every step.
const void* const kKernels[] = {address_of(norm_kernel), address_of(reduce_kernel),
                                address_of(settle_norm_kernel), address_of(settle_kernel),
                                address_of(accumulate_kernel)};

// Shared memory of the passes apart.
constexpr std::uint64_t kApartBytes = shared_bytes(0);

// Makes device 0 the calling thread's as long as it lives, and lets that thread allocate and wait here while
// another library captures streams of its own.
class Visit {
 public:
  Visit() {
    cudaGetDevice(&before_);
    cudaSetDevice(0);
    cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  ~Visit() {
    cudaThreadExchangeStreamCaptureMode(&mode_);
    if (before_ != 0) cudaSetDevice(before_);
    cudaGetLastError();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  int before_ = 0;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Device 0 of those that CUDA_VISIBLE_DEVICES shows.
struct Device {
  cudaDeviceProp properties{};
  cudaStream_t own = nullptr;
  cudaStream_t up = nullptr;  // for copies beside it
  cudaStream_t down = nullptr;
  std::mutex ordering;
  cudaEvent_t order = nullptr;
  cudaEvent_t clock[2] = {};
  std::uint32_t most_kept = 0;  // chunks, by a block of the one launch
  std::uint32_t blocks = 0;     // of the one launch that run at once

  ~Device() {
    for (cudaStream_t stream : {own, up, down}) {
      if (stream != nullptr) cudaStreamDestroy(stream);
    }
    for (cudaEvent_t event : {order, clock[0], clock[1]}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
};

// Within a major version, what was built with a newer toolkit runs on an older driver.
constexpr int kNeededCuda = CUDART_VERSION / 1000 * 1000;

// Throws Unavailable.
CudaDevice describe(cudaDeviceProp* properties) {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) throw Unavailable(no_driver());
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) throw Unavailable(no_driver());
  if (version < kNeededCuda) throw Unavailable(old_driver(version, kNeededCuda));
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice || (counted == cudaSuccess && count == 0)) throw Unavailable(no_device());
  cudaError_t status = counted;
  if (status == cudaSuccess) status = cudaGetDeviceProperties(properties, 0);
  if (status != cudaSuccess) {
    cudaGetLastError();
    throw Unavailable(std::string("The NVIDIA driver does not work: ") + cudaGetErrorString(status));
  }
  CudaDevice device{};
  std::strncpy(device.name, properties->name, sizeof device.name - 1);
  device.compute_capability = static_cast<std::uint32_t>(properties->major * 10 + properties->minor);
  device.driver_version = static_cast<std::uint32_t>(version);
  device.multiprocessors = static_cast<std::uint32_t>(properties->multiProcessorCount);
  device.memory = properties->totalGlobalMem;
  if (device.compute_capability < kOldestArchitecture) {
    throw Unavailable(old_architecture(device.name, device.compute_capability));
  }
  return device;
}

// Throws Unavailable: nothing is on the device yet that could be lost.
std::unique_ptr<Device> open() {
  auto device = std::make_unique<Device>();
  const CudaDevice described = describe(&device->properties);
  const cudaDeviceProp& properties = device->properties;
  const auto need = [&](cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();
    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
      throw Unavailable(no_kernels(described.name, described.compute_capability));
    }
    throw Unavailable(unusable(described.name, cudaGetErrorString(status)));
  };
  need(cudaSetDevice(0));
  if (!properties.memoryPoolsSupported) need(cudaErrorNotSupported);
  // All of them: a kernel is loaded when it is first asked for, and what fails then should fail here.
  const auto ask = [&](const void* kernel) {
    cudaFuncAttributes attributes;
    need(cudaFuncGetAttributes(&attributes, kernel));
  };
  for (const void* const kernel : kKernels) ask(kernel);
  for (const Rules rules : kAllRules) {
    const KernelsOfRules& kernels = kernels_of(rules);
    for (const void* const kernel : {kernels.whole_step, kernels.penalty, kernels.update}) ask(kernel);
  }
  for (cudaStream_t* const stream : {&device->own, &device->up, &device->down}) {
    need(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking));
  }
  need(cudaEventCreateWithFlags(&device->order, cudaEventDisableTiming));
  for (cudaEvent_t& event : device->clock) need(cudaEventCreate(&event));
  if (!properties.cooperativeLaunch) return device;
  // A part of each block's share is the system's; what is asked for beyond it is not given.
  const std::uint64_t per_block =
      properties.sharedMemPerMultiprocessor / kBlocksPerMultiprocessor - properties.reservedSharedMemPerBlock;
  const std::uint64_t most =
      per_block < properties.sharedMemPerBlockOptin ? per_block : properties.sharedMemPerBlockOptin;
  while (device->most_kept < kTeams && shared_bytes(device->most_kept + 1) <= most) ++device->most_kept;
  int blocks = kBlocksPerMultiprocessor;
  for (const Rules rules : kAllRules) {
    const void* const kernel = kernels_of(rules).whole_step;
    need(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)));
    need(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                              cudaSharedmemCarveoutMaxShared));
    int at_once = 0;
    need(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel, kThreads, most));
    if (at_once < blocks) blocks = at_once;
  }
  device->blocks = static_cast<std::uint32_t>(blocks * properties.multiProcessorCount);
  return device;
}

// Opened at the first use, never closed: memory may be released while the process ends.
Device& device() {
  static Device* const opened = open().release();
  return *opened;
}

// A command that failed: the device is lost where it does not answer any more.
void must(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  for (cudaStream_t stream : {device().own, device().up, device().down}) {
    if (cudaStreamSynchronize(stream) == cudaSuccess) continue;
    cudaGetLastError();
    throw DeviceLost(lost(cudaGetErrorString(status)));
  }
  throw Unavailable(refused(cudaGetErrorString(status)));
}

cudaStream_t of(Stream stream) {
  return static_cast<cudaStream_t>(stream);
}

template <typename... Values>
void launch(Stream stream, const void* kernel, unsigned blocks, std::uint64_t shared_bytes,
            const Values&... values) {
  const Visit visit;
  void* arguments[] = {const_cast<void*>(static_cast<const void*>(&values))...};
  must(cudaLaunchKernel(kernel, dim3(blocks), dim3(kThreads), arguments, shared_bytes, of(stream)));
}

unsigned blocks_for(std::uint64_t count) {
  return static_cast<unsigned>(count == 0 ? 1 : count < kMostBlocks ? count : kMostBlocks);
}

cudaError_t order_streams(cudaStream_t before, cudaStream_t after) {
  Device& on = device();
  const std::lock_guard<std::mutex> lock(on.ordering);
  const cudaError_t status = cudaEventRecord(on.order, before);
  return status == cudaSuccess ? cudaStreamWaitEvent(after, on.order) : status;
}

}  // namespace

namespace runtime {

CudaDevice probe() {
  const Visit visit;
  cudaDeviceProp properties;
  const CudaDevice described = describe(&properties);
  device();
  return described;
}

Stream stream() {
  const Visit visit;
  return device().own;
}

// From the device's pool and in the order of the own stream: nobody else's work is waited for.
void* allocate(std::uint64_t bytes) {
  if (bytes == 0) return nullptr;
  const Visit visit;
  const cudaStream_t own = device().own;
  void* memory = nullptr;
  const cudaError_t status = cudaMallocAsync(&memory, bytes, own);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    throw OutOfDeviceMemory(no_memory(bytes, free, total));
  }
  must(status);
  try {
    must(cudaMemsetAsync(memory, 0, bytes, own));
    must(cudaStreamSynchronize(own));
  } catch (...) {
    cudaFreeAsync(memory, own);
    throw;
  }
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  const Visit visit;
  const Device& on = device();
  order_streams(on.up, on.own);
  order_streams(on.down, on.own);
  cudaFreeAsync(memory, on.own);
}

void* allocate_pinned(std::uint64_t bytes) {
  const Visit visit;
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped) != cudaSuccess) {
    cudaGetLastError();
    throw std::bad_alloc();
  }
  std::memset(memory, 0, bytes);
  return memory;
}

void release_pinned(void* memory) noexcept {
  const Visit visit;
  cudaStreamSynchronize(device().own);
  cudaFreeHost(memory);
}

void copy(Stream stream, void* to, const void* from, std::uint64_t bytes) {
  const Visit visit;
  if (bytes != 0) must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, of(stream)));
}

void zero(Stream stream, void* memory, std::uint64_t bytes) {
  const Visit visit;
  if (bytes != 0) must(cudaMemsetAsync(memory, 0, bytes, of(stream)));
}

void synchronize(Stream stream) {
  const Visit visit;
  must(cudaStreamSynchronize(of(stream)));
}

CopyStreams copy_streams() {
  return {device().up, device().down};
}

void order(Stream before, Stream after) {
  const Visit visit;
  must(order_streams(of(before), of(after)));
}

std::uint64_t chunks_per_part() {
  return kChunksPerPart;
}

struct Mark {
  cudaEvent_t event = nullptr;
};

Mark* make_mark() {
  const Visit visit;
  auto mark = std::make_unique<Mark>();
  must(cudaEventCreateWithFlags(&mark->event, cudaEventDisableTiming));
  return mark.release();
}

void set_mark(Mark* mark, Stream stream) {
  const Visit visit;
  must(cudaEventRecord(mark->event, of(stream)));
}

void wait_for(Mark* mark) {
  const Visit visit;
  must(cudaEventSynchronize(mark->event));
}

std::uint64_t piece_bytes() {
  return kPieceBytes;
}

void require_device_memory(const void* memory) {
  const Visit visit;
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, memory);
  if (status == cudaErrorInvalidValue) {
    cudaGetLastError();
    throw Misplaced(on_host());
  }
  must(status);
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    throw Misplaced(on_host());
  }
  if (attributes.device != 0) throw Misplaced(on_another_device(attributes.device));
}

void synchronize_device() {
  const Visit visit;
  must(cudaDeviceSynchronize());
}

LaunchPlan plan_launches(CudaLaunches wanted, std::uint64_t chunks, std::uint32_t groups) {
  const Device& on = device();
  LaunchPlan plan;
  if (wanted == CudaLaunches::kPasses || groups > kGroupsOnChip || on.blocks == 0) return plan;
  const std::uint64_t each = (chunks + on.blocks - 1) / on.blocks;
  if (each > on.most_kept) return plan;
  plan.one_launch = true;
  plan.blocks = static_cast<std::uint32_t>(chunks < on.blocks ? (chunks == 0 ? 1 : chunks) : on.blocks);
  plan.kept = static_cast<std::uint32_t>(each);
  plan.shared_bytes = shared_bytes(plan.kept);
  return plan;
}

bool launch_whole_step(Stream stream, const LaunchPlan& plan, const StepView& step) {
  const Visit visit;
  void* arguments[] = {const_cast<StepView*>(&step)};
  const cudaError_t status =
      cudaLaunchCooperativeKernel(kernels_of(rules_with(step.rule)).whole_step, dim3(plan.blocks),
                                  dim3(kThreads), arguments, plan.shared_bytes, of(stream));
  if (status == cudaErrorCooperativeLaunchTooLarge || status == cudaErrorLaunchOutOfResources) {
    cudaGetLastError();
    return false;
  }
  must(status);
  return true;
}

void launch_norm_pass(Stream stream, const StepView& step) {
  launch(stream, address_of(norm_kernel), blocks_to_read(step), kApartBytes, step);
}

void launch_penalty_pass(Stream stream, const StepView& step) {
  // Without anything to read, it still prepares every tensor's scalars.
  const unsigned blocks =
      step.reads ? blocks_to_read(step) : blocks_for((step.tensor_count + kThreads - 1) / kThreads);
  launch(stream, kernels_of(rules_with(step.rule)).penalty, blocks, kApartBytes, step);
}

void launch_reduce_pass(Stream stream, const Runs& from, const Runs& to, std::uint32_t runs,
                        std::uint64_t results) {
  launch(stream, address_of(reduce_kernel), static_cast<unsigned>(results), kApartBytes, from, to, runs);
}

void launch_settle_norm(Stream stream, const StepView& step) {
  launch(stream, address_of(settle_norm_kernel), 1, kApartBytes, step);
}

void launch_settle(Stream stream, const StepView& step) {
  launch(stream, address_of(settle_kernel), 1, kApartBytes, step);
}

void launch_update_pass(Stream stream, const StepView& step) {
  launch(stream, kernels_of(rules_with(step.rule)).update, blocks_for(step.end_chunk - step.first_chunk),
         kApartBytes, step);
}

void launch_accumulate_pass(Stream stream, const StepView& step, std::uint32_t calls) {
  launch(stream, address_of(accumulate_kernel), blocks_for(step.chunk_count), kApartBytes, step, calls);
}

void start_clock() {
  const Visit visit;
  must(cudaEventRecord(device().clock[0], device().own));
}

double stop_clock() {
  const Visit visit;
  const auto& [begin, end] = device().clock;
  must(cudaEventRecord(end, device().own));
  must(cudaEventSynchronize(end));
  float milliseconds = 0;
  must(cudaEventElapsedTime(&milliseconds, begin, end));
  return milliseconds / 1e3;
}

}  // namespace runtime
}  // namespace cuda
}  // namespace vradam
