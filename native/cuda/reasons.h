// Why the engine cannot be used or cannot go on: the sentences, without their full stops.
#pragma once

#include <cstdint>
#include <string>

namespace vradam {
namespace cuda {

// What the kernels are built for.
constexpr std::uint32_t kOldestArchitecture = 75;

inline std::string version_text(std::uint32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

inline std::string no_driver() {
  return "No NVIDIA driver is installed: the library libcuda.so.1 was not found";
}

// `has` and `needs` are versions of CUDA: 13000 for 13.0.
inline std::string old_driver(std::uint32_t has, std::uint32_t needs) {
  return "The NVIDIA driver is too old: it supports CUDA " + version_text(has) +
         ", as nvidia-smi shows, and this build needs " + version_text(needs) +
         (needs == 13000 ? ", which is driver 580 or newer" : "") +
         ". Update the driver, or build the plugin with a CUDA toolkit that is as old: vradam build --cuda";
}

inline std::string no_device() {
  return "The NVIDIA driver finds no GPU";
}

inline std::string capability_of(const std::string& name, std::uint32_t capability) {
  return "The GPU " + name + " has compute capability " + std::to_string(capability / 10) + "." +
         std::to_string(capability % 10);
}

inline std::string old_architecture(const std::string& name, std::uint32_t capability) {
  return capability_of(name, capability) + " and this build needs 7.5 or newer";
}

inline std::string no_kernels(const std::string& name, std::uint32_t capability) {
  return capability_of(name, capability) + ", for which this build has no kernels";
}

inline std::string unusable(const std::string& name, const std::string& why) {
  return "The GPU " + name + " cannot be used: " + why;
}

inline std::string no_memory(std::uint64_t bytes, std::uint64_t free, std::uint64_t total) {
  return "The GPU has no memory for " + std::to_string(bytes) + " bytes: " + std::to_string(free) + " of " +
         std::to_string(total) + " are free; nothing has changed";
}

inline std::string on_host() {
  return "A tensor of the step lies in the memory of the host and not on the GPU; nothing has changed";
}

inline std::string on_another_device(int device) {
  return "A tensor of the step lies on GPU " + std::to_string(device) +
         " and the engine works on GPU 0: let CUDA_VISIBLE_DEVICES show this process one GPU only; "
         "nothing has changed";
}

inline std::string refused(const std::string& why) {
  return "The GPU refused a command: " + why + "; nothing has changed";
}

inline std::string lost(const std::string& why) {
  return "The GPU failed: " + why + ". Parameters and state on the device are lost";
}

}  // namespace cuda
}  // namespace vradam
