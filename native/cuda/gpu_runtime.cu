// The runtime on a GPU: the passes as kernels, and memory and copies through the CUDA runtime library.
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <functional>
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

// Up to here the step is one launch. Up to 4096 chunks every block can decide for itself; and up to about as
// much, part of v and g stays on chip, which saves more than passes of many blocks would.
constexpr std::uint64_t kOneLaunchChunks = kChunk;

// Blocks of a pass; more chunks than this and blocks take several.
constexpr std::uint64_t kMostBlocks = 1u << 30;

// 16 MiB of each array: some hundred microseconds on their way, against some for a launch.
constexpr std::uint64_t kChunksPerPart = 1024;

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

__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    whole_step_kernel(const __grid_constant__ StepView step) {
  const Threads threads;
  const Shared shared = shared_of(step.kept);
  const cooperative_groups::grid_group grid = cooperative_groups::this_grid();
  if (step.clips) {
    norm_pass<false>(threads, shared, step);
    grid.sync();
  }
  penalty_pass<false>(threads, shared, step);
  grid.sync();
  update_pass<false>(threads, shared, step);
}

__global__ void __launch_bounds__(kThreads) norm_kernel(const __grid_constant__ StepView step) {
  norm_pass<true>(Threads(), shared_of(0), step);
}

__global__ void __launch_bounds__(kThreads, 3) penalty_kernel(const __grid_constant__ StepView step) {
  penalty_pass<true>(Threads(), shared_of(0), step);
}

__global__ void __launch_bounds__(kThreads)
    reduce_kernel(const __grid_constant__ Runs from, const __grid_constant__ Runs to, std::uint32_t runs) {
  reduce_pass(Threads(), shared_of(0), from, to, runs);
}

__global__ void __launch_bounds__(kThreads) settle_norm_kernel(const __grid_constant__ StepView step) {
  settle_norm(Threads(), shared_of(0), step, step.decision);
}

__global__ void __launch_bounds__(kThreads) settle_kernel(const __grid_constant__ StepView step) {
  settle<true>(Threads(), shared_of(0), step, step.decision, step.group_decisions);
}

__global__ void __launch_bounds__(kThreads, 3) update_kernel(const __grid_constant__ StepView step) {
  update_pass<true>(Threads(), shared_of(0), step);
}

const void* const kKernels[] = {
    reinterpret_cast<const void*>(whole_step_kernel),  reinterpret_cast<const void*>(norm_kernel),
    reinterpret_cast<const void*>(penalty_kernel),     reinterpret_cast<const void*>(reduce_kernel),
    reinterpret_cast<const void*>(settle_norm_kernel), reinterpret_cast<const void*>(settle_kernel),
    reinterpret_cast<const void*>(update_kernel),
};

// Shared memory of passes that sum up a chunk, and of those that do not.
constexpr std::uint64_t kReadingBytes = shared_bytes(0, false);
constexpr std::uint64_t kDecidingBytes = sizeof(BlockMemory);

void must(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceLost(lost(cudaGetErrorString(status)));
}

// Where work goes: to the device, or to a graph behind what went there before.
struct Destination {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphNode_t last = nullptr;
};

// A graph while it is made.
struct Recording : Destination {
  Recording() = default;
  ~Recording() {
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
};

// Device 0 of those that CUDA_VISIBLE_DEVICES shows.
struct Device {
  cudaDeviceProp properties{};
  Destination own;
  Destination up;  // for copies beside it
  Destination down;
  std::uint32_t most_kept = 0;  // by a block of the one launch that has room for a chunk more
  std::uint32_t most_kept_alone = 0;
  std::uint32_t blocks = 0;  // of the one launch that run at once
};

// Throws Unavailable.
CudaDevice describe(cudaDeviceProp* properties) {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) throw Unavailable(no_driver());
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) throw Unavailable(no_driver());
  if (version < static_cast<int>(kCudaVersion)) throw Unavailable(old_driver(version));
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

std::uint32_t kept_in(std::uint64_t bytes, bool keeps_all) {
  std::uint32_t kept = 0;
  while (shared_bytes(kept + 1, keeps_all) <= bytes) ++kept;
  return kept;
}

// Throws Unavailable: nothing is on the device yet that could be lost.
Device open() {
  Device device;
  const CudaDevice described = describe(&device.properties);
  const cudaDeviceProp& properties = device.properties;
  const auto need = [&](cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();
    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
      throw Unavailable(no_kernels(described.name, described.compute_capability));
    }
    throw Unavailable(unusable(described.name, cudaGetErrorString(status)));
  };
  need(cudaSetDevice(0));
  // All of them: a kernel is loaded when it is first asked for, and what fails then should fail here.
  for (const void* const kernel : kKernels) {
    cudaFuncAttributes attributes;
    need(cudaFuncGetAttributes(&attributes, kernel));
  }
  for (Destination* const to : {&device.own, &device.up, &device.down}) {
    need(cudaStreamCreateWithFlags(&to->stream, cudaStreamNonBlocking));
  }
  if (!properties.cooperativeLaunch) return device;
  // A part of each block's share is the system's; what is asked for beyond it is not given.
  const std::uint64_t per_block =
      properties.sharedMemPerMultiprocessor / kBlocksPerMultiprocessor - properties.reservedSharedMemPerBlock;
  const std::uint64_t most =
      per_block < properties.sharedMemPerBlockOptin ? per_block : properties.sharedMemPerBlockOptin;
  device.most_kept = kept_in(most, false);
  device.most_kept_alone = kept_in(most, true);
  need(cudaFuncSetAttribute(whole_step_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            static_cast<int>(most)));
  need(cudaFuncSetAttribute(whole_step_kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                            cudaSharedmemCarveoutMaxShared));
  int blocks = 0;
  need(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, whole_step_kernel, kThreads, most));
  device.blocks = static_cast<std::uint32_t>(blocks * properties.multiProcessorCount);
  return device;
}

// Opened at the first use, never closed: memory may be released while the process ends.
Device& device() {
  static Device* const opened = new Device(open());
  // Each host thread has a current device of its own.
  must(cudaSetDevice(0));
  return *opened;
}

cudaStream_t of(Stream stream) {
  return static_cast<Destination*>(stream)->stream;
}

// Pinned memory that copies go through piece by piece: while one piece is on its way, the host fills or
// empties the other. One for each direction, so that neither waits for the other's pieces.
class Staging {
 public:
  static Staging& up() {
    static Staging* const staging = new Staging();
    return *staging;
  }
  static Staging& down() {
    static Staging* const staging = new Staging();
    return *staging;
  }

  // Throws std::bad_alloc.
  void make_ready() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open();
  }

  void upload(cudaStream_t stream, unsigned char* device, const unsigned char* host, std::uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open();
    for (std::uint64_t at = 0; at < bytes; at += kPiece) {
      Piece& piece = next();
      const std::uint64_t length = bytes - at < kPiece ? bytes - at : kPiece;
      must(cudaEventSynchronize(piece.done));
      std::memcpy(piece.memory, host + at, length);
      must(cudaMemcpyAsync(device + at, piece.memory, length, cudaMemcpyHostToDevice, stream));
      must(cudaEventRecord(piece.done, stream));
    }
  }

  void download(cudaStream_t stream, const unsigned char* device, unsigned char* host, std::uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open();
    std::uint64_t asked = 0;
    std::uint64_t received = 0;
    Piece* under_way[kPieces];
    std::uint64_t count = 0;
    while (received < bytes) {
      while (asked < bytes && count < kPieces) {
        Piece& piece = next();
        const std::uint64_t length = bytes - asked < kPiece ? bytes - asked : kPiece;
        must(cudaEventSynchronize(piece.done));
        must(cudaMemcpyAsync(piece.memory, device + asked, length, cudaMemcpyDeviceToHost, stream));
        must(cudaEventRecord(piece.done, stream));
        under_way[asked / kPiece % kPieces] = &piece;
        asked += length;
        ++count;
      }
      const Piece& piece = *under_way[received / kPiece % kPieces];
      const std::uint64_t length = bytes - received < kPiece ? bytes - received : kPiece;
      must(cudaEventSynchronize(piece.done));
      std::memcpy(host + received, piece.memory, length);
      received += length;
      --count;
    }
  }

 private:
  static constexpr std::uint64_t kPiece = 4u << 20;
  static constexpr std::uint64_t kPieces = 3;

  struct Piece {
    void* memory = nullptr;
    cudaEvent_t done = nullptr;
  };

  void open() {
    for (Piece& piece : pieces_) {
      if (piece.memory == nullptr &&
          cudaHostAlloc(&piece.memory, kPiece, cudaHostAllocPortable) != cudaSuccess) {
        cudaGetLastError();
        throw std::bad_alloc();
      }
      if (piece.done == nullptr) must(cudaEventCreateWithFlags(&piece.done, cudaEventDisableTiming));
    }
  }
  Piece& next() { return pieces_[turn_++ % kPieces]; }

  std::mutex mutex_;
  Piece pieces_[kPieces];
  std::uint64_t turn_ = 0;
};

// Two marks on the stream.
struct Clock {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;

  static Clock& instance() {
    static Clock* const clock = new Clock();
    device();
    if (clock->begin == nullptr) must(cudaEventCreate(&clock->begin));
    if (clock->end == nullptr) must(cudaEventCreate(&clock->end));
    return *clock;
  }
};

// Up to this many bytes the driver copies along with the command, without waiting.
constexpr std::uint64_t kSmallCopy = 32768;

// Not by capturing a stream: while one is captured, nobody may wait for the device.
template <typename Kernel, typename... Values>
void launch(Stream stream, Kernel kernel, unsigned blocks, std::uint64_t shared_bytes,
            const Values&... values) {
  Destination& to = *static_cast<Destination*>(stream);
  void* arguments[] = {const_cast<void*>(static_cast<const void*>(&values))...};
  if (to.graph == nullptr) {
    device();
    must(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(blocks), dim3(kThreads), arguments,
                          shared_bytes, to.stream));
    return;
  }
  cudaKernelNodeParams node{};
  node.func = reinterpret_cast<void*>(kernel);
  node.gridDim = dim3(blocks);
  node.blockDim = dim3(kThreads);
  node.sharedMemBytes = static_cast<unsigned>(shared_bytes);
  node.kernelParams = arguments;
  cudaGraphNode_t added = nullptr;
  must(cudaGraphAddKernelNode(&added, to.graph, &to.last, to.last == nullptr ? 0 : 1, &node));
  to.last = added;
}

unsigned blocks_for(std::uint64_t count) {
  return static_cast<unsigned>(count == 0 ? 1 : count < kMostBlocks ? count : kMostBlocks);
}

}  // namespace

namespace runtime {

CudaDevice probe() {
  cudaDeviceProp properties;
  const CudaDevice described = describe(&properties);
  device();
  return described;
}

Stream stream() {
  return &device().own;
}

void* allocate(std::uint64_t bytes) {
  if (bytes == 0) return nullptr;
  const cudaStream_t own = device().own.stream;
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
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
    cudaFree(memory);
    throw;
  }
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  cudaSetDevice(0);
  cudaDeviceSynchronize();
  cudaFree(memory);
  cudaGetLastError();
}

void upload(Stream stream, void* to, const void* host, std::uint64_t bytes) {
  if (bytes == 0) return;
  device();
  if (bytes <= kSmallCopy) {
    must(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, of(stream)));
  } else {
    Staging::up().upload(of(stream), static_cast<unsigned char*>(to), static_cast<const unsigned char*>(host),
                         bytes);
  }
}

void download(Stream stream, const void* from, void* host, std::uint64_t bytes) {
  if (bytes == 0) return;
  device();
  if (bytes <= kSmallCopy) {
    must(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, of(stream)));
    must(cudaStreamSynchronize(of(stream)));
  } else {
    Staging::down().download(of(stream), static_cast<const unsigned char*>(from),
                             static_cast<unsigned char*>(host), bytes);
  }
}

void copy(Stream stream, void* to, const void* from, std::uint64_t bytes) {
  if (bytes != 0) must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(stream)));
}

void zero(Stream stream, void* memory, std::uint64_t bytes) {
  if (bytes != 0) must(cudaMemsetAsync(memory, 0, bytes, of(stream)));
}

void synchronize(Stream stream) {
  device();
  must(cudaStreamSynchronize(of(stream)));
}

CopyStreams copy_streams() {
  Device& on = device();
  Staging::up().make_ready();
  Staging::down().make_ready();
  return {&on.up, &on.down};
}

void order(Stream before, Stream after) {
  device();
  cudaEvent_t mark = nullptr;
  must(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming));
  cudaError_t status = cudaEventRecord(mark, of(before));
  if (status == cudaSuccess) status = cudaStreamWaitEvent(of(after), mark);
  // It goes when it has happened.
  cudaEventDestroy(mark);
  must(status);
}

std::uint64_t chunks_per_part() {
  return kChunksPerPart;
}

void require_device_memory(const void* memory) {
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
  device();
  must(cudaDeviceSynchronize());
}

HostWord allocate_word() {
  device();
  void* host = nullptr;
  must(cudaHostAlloc(&host, sizeof(std::uint32_t), cudaHostAllocMapped | cudaHostAllocPortable));
  std::memset(host, 0, sizeof(std::uint32_t));
  void* mapped = nullptr;
  must(cudaHostGetDevicePointer(&mapped, host, 0));
  return {static_cast<std::uint32_t*>(host), static_cast<std::uint32_t*>(mapped)};
}

void release_word(const HostWord& word) noexcept {
  // Steps that are enqueued may still write it.
  cudaSetDevice(0);
  cudaDeviceSynchronize();
  cudaFreeHost(const_cast<std::uint32_t*>(word.host));
  cudaGetLastError();
}

LaunchPlan plan_launches(CudaLaunches wanted, std::uint64_t chunks, std::uint32_t groups) {
  const Device& on = device();
  LaunchPlan plan;
  if (wanted == CudaLaunches::kPasses || chunks > kOneLaunchChunks || groups > kGroupsOnChip) return plan;
  if (on.blocks == 0) return plan;
  plan.one_launch = true;
  plan.blocks = static_cast<std::uint32_t>(chunks < on.blocks ? (chunks == 0 ? 1 : chunks) : on.blocks);
  const std::uint64_t each = (chunks + plan.blocks - 1) / plan.blocks;
  const bool keeps_all = each <= on.most_kept_alone;
  plan.kept = keeps_all ? static_cast<std::uint32_t>(each) : on.most_kept;
  plan.shared_bytes = shared_bytes(plan.kept, keeps_all);
  return plan;
}

void launch_whole_step(Stream stream, const LaunchPlan& plan, const StepView& step) {
  device();
  void* arguments[] = {const_cast<StepView*>(&step)};
  must(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(whole_step_kernel), dim3(plan.blocks),
                                   dim3(kThreads), arguments, plan.shared_bytes, of(stream)));
}

void launch_norm_pass(Stream stream, const StepView& step) {
  launch(stream, norm_kernel, blocks_for(step.end_chunk - step.first_chunk), kReadingBytes, step);
}

void launch_penalty_pass(Stream stream, const StepView& step) {
  // Without anything to read, it still prepares every tensor's scalars.
  const std::uint64_t blocks =
      step.reads ? step.end_chunk - step.first_chunk : (step.tensor_count + kThreads - 1) / kThreads;
  launch(stream, penalty_kernel, blocks_for(blocks), kReadingBytes, step);
}

void launch_reduce_pass(Stream stream, const Runs& from, const Runs& to, std::uint32_t runs,
                        std::uint64_t results) {
  launch(stream, reduce_kernel, blocks_for(results), kDecidingBytes, from, to, runs);
}

void launch_settle_norm(Stream stream, const StepView& step) {
  launch(stream, settle_norm_kernel, 1, kDecidingBytes, step);
}

void launch_settle(Stream stream, const StepView& step) {
  launch(stream, settle_kernel, 1, kDecidingBytes, step);
}

void launch_update_pass(Stream stream, const StepView& step) {
  launch(stream, update_kernel, blocks_for(step.end_chunk - step.first_chunk), kDecidingBytes, step);
}

struct Sequence {
  cudaGraphExec_t executable = nullptr;

  ~Sequence() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    cudaGetLastError();
  }
};

// What fails in here has touched nothing on the device, so the device is not lost by it.
Sequence* record(const std::function<void(Stream)>& launches) {
  const cudaStream_t own = device().own.stream;
  auto sequence = std::make_unique<Sequence>();
  Recording recording;
  try {
    must(cudaGraphCreate(&recording.graph, 0));
    launches(static_cast<Destination*>(&recording));
    must(cudaGraphInstantiateWithFlags(&sequence->executable, recording.graph, 0));
    // What it needs of the device it takes now, and not in the midst of a step.
    must(cudaGraphUpload(sequence->executable, own));
  } catch (const DeviceLost&) {
    return nullptr;
  }
  return sequence.release();
}

void enqueue(Stream stream, const Sequence* sequence) {
  device();
  must(cudaGraphLaunch(sequence->executable, of(stream)));
}

void release_sequence(Sequence* sequence) noexcept {
  delete sequence;
}

double time_copy(std::uint64_t bytes) {
  void* const from = allocate(bytes);
  void* to = nullptr;
  try {
    to = allocate(bytes);
    constexpr int kRepeats = 9;
    double seconds[kRepeats];
    copy(stream(), to, from, bytes);
    for (double& one : seconds) {
      start_clock();
      copy(stream(), to, from, bytes);
      one = stop_clock();
    }
    std::sort(seconds, seconds + kRepeats);
    release(from);
    release(to);
    return seconds[kRepeats / 2];
  } catch (...) {
    release(from);
    release(to);
    throw;
  }
}

void start_clock() {
  Clock& clock = Clock::instance();
  must(cudaEventRecord(clock.begin, device().own.stream));
}

double stop_clock() {
  Clock& clock = Clock::instance();
  must(cudaEventRecord(clock.end, device().own.stream));
  must(cudaEventSynchronize(clock.end));
  float milliseconds = 0;
  must(cudaEventElapsedTime(&milliseconds, clock.begin, clock.end));
  return milliseconds / 1e3;
}

}  // namespace runtime
}  // namespace cuda
}  // namespace vradam
