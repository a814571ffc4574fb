// The border between the addon and the CUDA plugin: plain structs and functions, so that either side may be
// built by another compiler. Both sides check the version; nothing here is ever thrown.
//
// Everything runs on one stream: what is enqueued first happens first, whatever array or engine it is for.
#pragma once

#include <cstdint>

#include "../core/rules.h"
#include "../core/scalars.h"
#include "../core/step.h"

namespace vradam {

constexpr std::uint32_t kCudaAbi = 7;

enum class CudaStatus : std::uint32_t {
  kOk = 0,
  kUnavailable = 1,  // no device, or one that would not take a command; nothing has changed
  kOutOfMemory = 2,  // nothing has changed
  kDeviceLost = 3,   // the device failed: what it held, parameters and state included, is lost
  kMisplaced = 4,    // memory that is not this device's; nothing has changed
};

// Filled where a function does not return kOk: a sentence without its full stop.
struct CudaFailure {
  char sentence[512];
};

struct CudaDevice {
  char name[256];
  std::uint32_t compute_capability;  // 90 for 9.0
  std::uint32_t driver_version;      // CUDA version that the driver supports, 13000 for 13.0
  std::uint32_t multiprocessors;
  std::uint64_t memory;  // bytes
};

// How a step is cut into launches. The bytes are the same.
enum class CudaLaunches : std::uint32_t {
  kAuto = 0,
  kOne = 1,     // one cooperative launch, where the model is small enough for it
  kPasses = 2,  // one launch a pass
};

struct CudaSettings {
  const GroupSettings* groups;
  std::uint32_t group_count;
  Rule rule;
  double clip_norm;                // NaN: no clipping
  double clip_value;               // NaN: no clipping
  double average_decay;            // NaN: no averages of the parameters
  std::uint32_t accumulate_steps;  // calls whose mean gradient makes a step; 1 for each its own
  std::uint32_t check_gradients;   // a gradient that is not finite refuses the step
  std::uint32_t halt_on_refusal;   // steps after a refused one do nothing until `resume`
  CudaLaunches launches;
};

class CudaEngine;

struct CudaApi {
  std::uint32_t version;

  // Says whether there is a device that these kernels run on, and why not in a sentence.
  CudaStatus (*probe)(CudaDevice* device, CudaFailure* failure);

  // Device memory, zeroed. `release` may be called while steps that use it are enqueued: it comes after them.
  CudaStatus (*allocate)(std::uint64_t bytes, void** memory, CudaFailure* failure);
  void (*release)(void* memory);
  // In the order of the stream. The host's memory is free again at return.
  CudaStatus (*write)(void* device, const void* host, std::uint64_t bytes, CudaFailure* failure);
  CudaStatus (*read)(const void* device, void* host, std::uint64_t bytes, CudaFailure* failure);

  CudaStatus (*create)(const CudaSettings* settings, CudaEngine** engine, CudaFailure* failure);
  void (*destroy)(CudaEngine* engine);
  // Registers a tensor, its state zero, and numbers it from 0.
  CudaStatus (*add_tensor)(CudaEngine* engine, std::uint32_t group, std::uint64_t size, CudaFailure* failure);
  // Frees its state, after every step that was enqueued; the numbers of later tensors move down by one.
  CudaStatus (*remove_tensor)(CudaEngine* engine, std::uint32_t tensor, CudaFailure* failure);

  // Enqueues a step over all tensors, in device memory at any alignment of four bytes, and returns. `step`
  // becomes its number, from 0.
  CudaStatus (*enqueue)(CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars,
                        std::uint64_t* step, CudaFailure* failure);
  // The same on the host's memory, staged; waits, and writes the step's report. A step that is not applied
  // leaves p_out as it was. Where gradients are accumulated, a call takes only these until the step is due.
  CudaStatus (*step_on_host)(CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars,
                             double* report, CudaFailure* failure);

  // The same on device memory of another library, which neither tells us its streams nor knows ours: waits
  // for all that the device was given before, makes the step, waits for it, and writes its report.
  CudaStatus (*step_on_device)(CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars,
                               double* report, CudaFailure* failure);
  // Lets go of gradients that wait for those of other calls.
  CudaStatus (*forget_accumulated)(CudaEngine* engine, CudaFailure* failure);

  // Waits for everything that is enqueued. Off the thread that uses the engine, too.
  CudaStatus (*synchronize)(CudaEngine* engine, CudaFailure* failure);
  // Reports of `count` steps from number `first`; waits for them.
  CudaStatus (*reports)(CudaEngine* engine, std::uint64_t first, std::uint64_t count, double* reports,
                        CudaFailure* failure);
  // Whether a refused step is known to have halted the engine. Does not wait.
  std::uint32_t (*halted)(const CudaEngine* engine);
  // Ends the halt.
  CudaStatus (*resume)(CudaEngine* engine, CudaFailure* failure);

  CudaStatus (*read_state)(CudaEngine* engine, std::uint32_t tensor, float* const* arrays,
                           std::uint64_t* steps, CudaFailure* failure);
  CudaStatus (*write_state)(CudaEngine* engine, std::uint32_t tensor, const float* const* arrays,
                            std::uint64_t steps, CudaFailure* failure);

  // For benchmarks. Seconds of one copy of that many bytes from device memory to device memory, the median of
  // several; and seconds of the device between two calls, with what was enqueued between them.
  CudaStatus (*time_copy)(std::uint64_t bytes, double* seconds, CudaFailure* failure);
  CudaStatus (*start_clock)(CudaFailure* failure);
  CudaStatus (*stop_clock)(double* seconds, CudaFailure* failure);
};

// What the plugin exports under the name "vradam_cuda_api": null where it speaks another version.
using CudaApiFunction = const CudaApi* (*)(std::uint32_t version);

}  // namespace vradam
