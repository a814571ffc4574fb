// The functions of the CUDA runtime library that the plugin calls, over a machine for PTX: the plugin as nvcc
// made it, host code and kernels, runs on them. Streams do nothing before somebody waits, and read what they
// copy only then. The environment:
//
//   VRADAM_PTX         the kernels' PTX
//   VRADAM_PTX_SEED    of the order in which threads take turns; default 1
//   VRADAM_CUDA_EMULATED_…  as of the emulation (test/native/emulated_runtime.cpp)
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <mutex>
#include <sstream>
#include <utility>

#include "machine.h"

namespace {

constexpr unsigned kMultiprocessors = 2;
constexpr unsigned kBlocksEach = 2;

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

ptx::Machine& machine() {
  static ptx::Machine* const made = [] {
    const char* const path = std::getenv("VRADAM_PTX");
    std::ifstream file(path == nullptr ? "" : path);
    std::stringstream text;
    text << file.rdbuf();
    const char* const seed = std::getenv("VRADAM_PTX_SEED");
    try {
      return new ptx::Machine(ptx::read_program(text.str()),
                              seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10), kMultiprocessors,
                              kBlocksEach);
    } catch (const std::exception& failure) {
      ptx::stop(failure.what());
    }
  }();
  return *made;
}

// Enough that each block keeps up to four chunks.
constexpr std::size_t kSharedPerBlock = 132 * 1024;

std::map<const void*, std::string>& kernels() {
  static std::map<const void*, std::string> all;
  return all;
}

bool fails(const char* what) {
  const char* const fault = std::getenv("VRADAM_CUDA_EMULATED_FAULT");
  return fault != nullptr && std::strcmp(fault, what) == 0;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
int live_streams = 0;
bool captured = false;      // by somebody else
bool capture_ends = false;  // because of what was called meanwhile

cudaError_t result(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

// A command, unless the environment wants it refused.
cudaError_t obey() {
  static std::uint64_t obeyed = 0;
  if (!fails("refusal")) {
    obeyed = 0;
    return cudaSuccess;
  }
  const char* const after = std::getenv("VRADAM_CUDA_EMULATED_AFTER");
  const bool refused = obeyed++ == (after == nullptr ? 0 : std::strtoull(after, nullptr, 10));
  return refused ? cudaErrorLaunchOutOfResources : cudaSuccess;
}

// What ends a capture of somebody else's stream, unless the thread has said that it knows.
void disturb(bool always) {
  if (captured && (always || capture_mode != cudaStreamCaptureModeRelaxed)) capture_ends = true;
}

}  // namespace

struct CUstream_st {
  std::deque<std::function<void()>> work;
  std::uint64_t enqueued = 0;
  std::uint64_t done = 0;

  void enqueue(std::function<void()> one) {
    work.push_back(std::move(one));
    ++enqueued;
  }
  void run_until(std::uint64_t mark) {
    while (done < mark) {
      const std::function<void()> one = std::move(work.front());
      work.pop_front();
      ++done;
      one();
    }
  }
};

struct CUevent_st {
  CUstream_st* stream = nullptr;
  std::uint64_t mark = 0;
};

namespace {

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  const Lock lock(mutex);
  const cudaError_t status = obey();
  if (status == cudaSuccess) stream->enqueue(std::move(work));
  return result(status);
}

cudaError_t launch(const void* function, dim3 blocks, dim3 threads, void** arguments,
                   std::size_t shared_bytes, cudaStream_t stream, bool cooperative) {
  const auto kernel = machine().program().functions.find(kernels()[function]);
  if (kernel == machine().program().functions.end()) return result(cudaErrorInvalidDeviceFunction);
  ptx::Launch what;
  what.kernel = kernel->first;
  what.blocks = blocks.x;
  what.threads = threads.x;
  what.shared_bytes = shared_bytes;
  what.cooperative = cooperative;
  what.parameters.resize(kernel->second.parameter_bytes);
  for (std::size_t k = 0; k < kernel->second.parameters.size(); ++k) {
    const ptx::Parameter& parameter = kernel->second.parameters[k];
    std::memcpy(what.parameters.data() + parameter.offset, arguments[k], parameter.bytes);
  }
  if (cooperative) {
    static void* const workspace = [] {
      unsigned char* const made = machine().memory.allocate(8, false);
      std::memset(made, 0, 8);
      machine().memory.fill(made, 8);
      return made;
    }();
    what.workspace = workspace;
  }
  return enqueue(stream, [what] { machine().run(what); });
}

void copy(void* to, const void* from, std::size_t bytes) {
  for (const void* const end : {static_cast<const void*>(to), from}) {
    const ptx::Allocation* const of = machine().memory.find(reinterpret_cast<std::uint64_t>(end));
    if (of == nullptr) continue;
    if (static_cast<const unsigned char*>(end) + bytes > of->base + of->bytes)
      ptx::stop("a copy beyond the end of an allocation");
  }
  std::memcpy(to, from, bytes);
  machine().memory.fill(to, bytes);
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*,
                            dim3*, int*) {
  kernels()[host] = name;
}
unsigned __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  return cudaErrorInvalidValue;
}
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) {
  return cudaErrorInvalidValue;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, std::size_t, cudaStream_t) {
  return cudaErrorInvalidValue;
}

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorLaunchOutOfResources ? "too many resources requested for launch" : "some error";
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 2;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "emulation on the host");
  properties->major = 9;
  properties->multiProcessorCount = kMultiprocessors;
  properties->totalGlobalMem = 1u << 30;
  properties->cooperativeLaunch = 1;
  properties->memoryPoolsSupported = 1;
  properties->sharedMemPerMultiprocessor = kBlocksEach * (kSharedPerBlock + 1024);
  properties->reservedSharedMemPerBlock = 1024;
  properties->sharedMemPerBlockOptin = kSharedPerBlock;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return result(fails("unusable") ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, std::size_t) {
  *blocks = kBlocksEach;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st();
  ++live_streams;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  --live_streams;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(mutex);
  if (fails("launch")) return result(cudaErrorIllegalAddress);
  stream->run_until(stream->enqueued);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  disturb(true);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(mutex);
  const cudaError_t status = obey();
  if (status == cudaSuccess) *event = {stream, stream->enqueued};
  return result(status);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(mutex);
  if (event->stream != nullptr) event->stream->run_until(event->mark);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1.0f;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return enqueue(stream, [before = event->stream, mark = event->mark] { before->run_until(mark); });
}

cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  const Lock lock(mutex);
  const char* const limit = std::getenv("VRADAM_CUDA_EMULATED_MEMORY");
  if (limit != nullptr && machine().memory.used() + bytes > std::strtoull(limit, nullptr, 10)) {
    return result(cudaErrorMemoryAllocation);
  }
  *memory = machine().memory.allocate(bytes, false);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  const Lock lock(mutex);
  stream->enqueue([memory] { machine().memory.release(memory); });
  return cudaSuccess;
}
// What the plugin called before it had a stream to order its memory by.
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  disturb(false);
  return cudaMallocAsync(memory, bytes, nullptr);
}
cudaError_t cudaFree(void* memory) {
  disturb(false);
  const Lock lock(mutex);
  machine().memory.release(memory);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = 0;
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  disturb(false);
  const Lock lock(mutex);
  if (fails("pinned")) return result(cudaErrorMemoryAllocation);
  *memory = machine().memory.allocate(bytes, true);
  machine().memory.fill(*memory, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  disturb(false);
  const Lock lock(mutex);
  machine().memory.release(memory);
  return cudaSuccess;
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return enqueue(stream, [=] { copy(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return enqueue(stream, [=] {
    std::memset(to, value, bytes);
    machine().memory.fill(to, bytes);
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  const Lock lock(mutex);
  const bool device = machine().memory.find(reinterpret_cast<std::uint64_t>(memory)) != nullptr;
  attributes->type = device ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  attributes->device = 0;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* function, dim3 blocks, dim3 threads, void** arguments,
                             std::size_t shared, cudaStream_t stream) {
  return launch(function, blocks, threads, arguments, shared, stream, false);
}
cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 blocks, dim3 threads, void** arguments,
                                        std::size_t shared, cudaStream_t stream) {
  if (fails("too-large")) return result(cudaErrorCooperativeLaunchTooLarge);
  return launch(function, blocks, threads, arguments, shared, stream, true);
}

// For tests.
#define VRADAM_FOR_TESTS __attribute__((visibility("default")))
VRADAM_FOR_TESTS std::uint64_t ptx_executed(const char* kernel) {
  std::uint64_t sum = 0;
  for (const auto& [name, executed] : machine().executed) {
    if (name.find(kernel) != std::string::npos) sum += executed;
  }
  return sum;
}
VRADAM_FOR_TESTS int ptx_live_streams() {
  return live_streams;
}
VRADAM_FOR_TESTS void ptx_begin_capture() {
  captured = true;
  capture_ends = false;
}
VRADAM_FOR_TESTS bool ptx_end_capture() {
  captured = false;
  return !capture_ends;
}
VRADAM_FOR_TESTS int* ptx_current_device() {
  return &current_device;
}

}  // extern "C"
