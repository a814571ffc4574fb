// A small host of TensorFlow's C API: as much of it as the op VRAdamStep uses, in a library of its own, which
// the op finds in the process as it finds TensorFlow. It stands in for a TensorFlow with a GPU, which is not
// to be had everywhere: kernels are registered for a device, get tensors in its memory and allocate their
// outputs there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tensorflow_host {

// The memory of a device, as TensorFlow hands it out.
class Memory {
 public:
  virtual ~Memory() = default;
  // Null where there is none.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) = 0;
};

struct Value {
  int type;  // a TF_DataType
  std::vector<std::int64_t> shape;
  void* data;
  std::size_t bytes;
};

struct Outcome {
  std::string failure;         // empty where the op did not fail
  std::vector<Value> outputs;  // the caller releases them; none where the op failed
};

// The specifications of an op that was registered, as it gave them; empty where there is none.
std::vector<std::string> signature(const std::string& op);
// The arguments of a kernel that lie in the memory of the host; its device has to have one.
std::vector<std::string> host_arguments(const std::string& op, const std::string& device);

// From now on kernels for this device are refused.
void refuse_kernels(const std::string& device);

// Runs the op's kernel for a device, whose memory takes the outputs.
Outcome run(const std::string& op, const std::string& device, Memory& memory,
            const std::vector<Value>& inputs);

// TF_Tensors and TF_Statuses that were made and not deleted.
int living();

}  // namespace tensorflow_host
