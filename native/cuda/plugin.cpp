// What the plugin exports: the engine behind plain functions.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <new>

#include "engine.h"
#include "pinned_ring.h"

#if defined(_WIN32)
#define VRADAM_EXPORT extern "C" __declspec(dllexport)
#else
#define VRADAM_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace vradam {
namespace {

CudaStatus fail(CudaFailure* failure, CudaStatus status, const char* sentence) {
  std::snprintf(failure->sentence, sizeof failure->sentence, "%s", sentence);
  return status;
}

template <typename F>
CudaStatus guard(CudaFailure* failure, const F& f) {
  try {
    f();
    return CudaStatus::kOk;
  } catch (const cuda::Unavailable& e) {
    return fail(failure, CudaStatus::kUnavailable, e.what());
  } catch (const cuda::OutOfDeviceMemory& e) {
    return fail(failure, CudaStatus::kOutOfMemory, e.what());
  } catch (const cuda::Misplaced& e) {
    return fail(failure, CudaStatus::kMisplaced, e.what());
  } catch (const std::bad_alloc&) {
    return fail(failure, CudaStatus::kOutOfMemory, "Out of memory; nothing has changed");
  } catch (const std::exception& e) {
    return fail(failure, CudaStatus::kDeviceLost, e.what());
  }
}

cuda::PinnedRing& copies() {
  return cuda::PinnedRing::instance();
}

double time_copy(std::uint64_t bytes) {
  const cuda::DeviceArray<unsigned char> from(bytes);
  const cuda::DeviceArray<unsigned char> to(bytes);
  const auto copy = [&] { cuda::runtime::copy(cuda::runtime::stream(), to.data(), from.data(), bytes); };
  copy();
  double seconds[9];
  for (double& one : seconds) {
    cuda::runtime::start_clock();
    copy();
    one = cuda::runtime::stop_clock();
  }
  std::sort(std::begin(seconds), std::end(seconds));
  return seconds[std::size(seconds) / 2];
}

const CudaApi kApi = {
    kCudaAbi,
    [](CudaDevice* device, CudaFailure* failure) {
      return guard(failure, [&] { *device = cuda::runtime::probe(); });
    },
    [](std::uint64_t bytes, void** memory, CudaFailure* failure) {
      return guard(failure, [&] { *memory = cuda::runtime::allocate(bytes); });
    },
    [](void* memory) { cuda::runtime::release(memory); },
    [](void* device, const void* host, std::uint64_t bytes, CudaFailure* failure) {
      return guard(failure, [&] { copies().upload(cuda::runtime::stream(), device, host, bytes); });
    },
    [](const void* device, void* host, std::uint64_t bytes, CudaFailure* failure) {
      return guard(failure, [&] { copies().download(cuda::runtime::stream(), device, host, bytes); });
    },
    [](const CudaSettings* settings, CudaEngine** engine, CudaFailure* failure) {
      return guard(failure, [&] { *engine = new CudaEngine(*settings); });
    },
    [](CudaEngine* engine) { delete engine; },
    [](CudaEngine* engine, std::uint32_t group, std::uint64_t size, CudaFailure* failure) {
      return guard(failure, [&] { engine->add_tensor(group, size); });
    },
    [](CudaEngine* engine, std::uint32_t tensor, CudaFailure* failure) {
      return guard(failure, [&] { engine->remove_tensor(tensor); });
    },
    [](CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars, std::uint64_t* step,
       CudaFailure* failure) { return guard(failure, [&] { *step = engine->enqueue(tensors, scalars); }); },
    [](CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars, double* report,
       CudaFailure* failure) {
      return guard(failure, [&] { engine->step_on_host(tensors, scalars, report); });
    },
    [](CudaEngine* engine, const TensorBuffers* tensors, const StepScalars* scalars, double* report,
       CudaFailure* failure) {
      return guard(failure, [&] { engine->step_on_device(tensors, scalars, report); });
    },
    [](CudaEngine* engine, CudaFailure* failure) {
      return guard(failure, [&] { engine->forget_accumulated(); });
    },
    [](CudaEngine* engine, CudaFailure* failure) { return guard(failure, [&] { engine->synchronize(); }); },
    [](CudaEngine* engine, std::uint64_t first, std::uint64_t count, double* reports, CudaFailure* failure) {
      return guard(failure, [&] { engine->reports(first, count, reports); });
    },
    [](const CudaEngine* engine) -> std::uint32_t { return engine->halted(); },
    [](CudaEngine* engine, CudaFailure* failure) { return guard(failure, [&] { engine->resume(); }); },
    [](CudaEngine* engine, std::uint32_t tensor, float* const* arrays, std::uint64_t* steps,
       CudaFailure* failure) { return guard(failure, [&] { engine->read_state(tensor, arrays, steps); }); },
    [](CudaEngine* engine, std::uint32_t tensor, const float* const* arrays, std::uint64_t steps,
       CudaFailure* failure) { return guard(failure, [&] { engine->write_state(tensor, arrays, steps); }); },
    [](std::uint64_t bytes, double* seconds, CudaFailure* failure) {
      return guard(failure, [&] { *seconds = time_copy(bytes); });
    },
    [](CudaFailure* failure) { return guard(failure, [&] { cuda::runtime::start_clock(); }); },
    [](double* seconds, CudaFailure* failure) {
      return guard(failure, [&] { *seconds = cuda::runtime::stop_clock(); });
    },
};

}  // namespace
}  // namespace vradam

VRADAM_EXPORT const vradam::CudaApi* vradam_cuda_api(std::uint32_t version) {
  return version == vradam::kCudaAbi ? &vradam::kApi : nullptr;
}
