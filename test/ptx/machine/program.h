// PTX as nvcc writes it, read once into a form that a machine steps through.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ptx {

struct Thread;
struct Instruction;
using Handler = void (*)(Thread&, const Instruction&);

enum class Space : std::uint8_t { kGeneric, kGlobal, kShared, kParam };
enum class Strength : std::uint8_t { kWeak, kVolatile, kRelaxed, kAcquire, kRelease, kAcquireRelease };

struct Instruction {
  Handler run = nullptr;
  std::int32_t slots[6] = {};  // registers of the frame; below zero, constants
  std::int32_t base = 0;       // slot of an address
  std::int64_t offset = 0;     // of an address; or what else the handler needs
  std::int32_t predicate = -1;
  bool negated = false;
  std::uint8_t width = 0;  // bytes of a value that moves
  std::uint8_t count = 1;  // values that move
  bool is_signed = false;
  Space space = Space::kGeneric;
  Strength strength = Strength::kWeak;
  std::uint32_t target = 0;  // index of an instruction
  std::uint32_t line = 0;
  std::string name;            // of a label or function
  std::vector<int> arguments;  // of a call
};

struct Parameter {
  std::string name;
  std::uint32_t bytes;
  std::uint32_t offset;  // in a kernel's block of parameters
};

struct Function {
  std::string name;
  bool kernel = false;
  std::vector<Parameter> parameters;
  std::uint32_t parameter_bytes = 0;
  std::map<std::string, int> slots;  // a function's own parameters and results are registers, too
  std::vector<int> parameter_slots;
  int result_slot = -1;
  std::vector<Instruction> code;
};

struct Program {
  std::vector<std::string> lines;
  std::map<std::string, Function> functions;
  std::vector<std::uint64_t> constants;
};

// Addresses of memory that is not global.
constexpr std::uint64_t kSharedWindow = 1ull << 56;
constexpr std::uint64_t kParameterWindow = 1ull << 57;

// Throws std::runtime_error with the line of what it does not know.
Program read_program(const std::string& text);

// The handlers of instructions that compute, by their full names.
const std::map<std::string, Handler>& arithmetic();
// Those that touch memory or other threads.
struct MachineHandlers {
  Handler load, store, atomic_add, atomic_max, atomic_min, fence, block_barrier, warp_barrier, branch, call,
      leave, trap, special;
};
const MachineHandlers& machine_handlers();

}  // namespace ptx
