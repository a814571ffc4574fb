// A machine for PTX that is stricter than a GPU: threads of all blocks that are resident take turns at
// random, each alone, every access to memory is checked, and multiprocessors cache what they have read until
// told otherwise.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "program.h"

namespace ptx {

// What a GPU would do wrong, or what is wrong with the program: says so and ends the process.
[[noreturn]] void stop(const std::string& why);

// For every block of a launch, the number of its barriers before which everything that it did is known.
// Empty: nothing is.
using Clock = std::vector<std::uint32_t>;

// Who touched a word last, and which blocks' accesses nobody has been ordered behind yet.
struct Accesses {
  std::uint32_t phase = 0;  // the launch, or the block's turn where the memory is its own
  std::uint32_t block = 0;
  std::uint32_t barrier = 0;
  std::uint32_t warp_barrier = 0;
  std::uint16_t thread = 0;
  bool several_threads = false;
  bool several_warps = false;
  bool strong = false;
  std::unique_ptr<Clock>
      blocks;  // the barrier before which each was last there, plus one, where they are several
};

constexpr std::uint32_t kAlways = ~0u;

struct Word {
  Accesses writes;
  Accesses reads;
  std::uint32_t filled = 0;  // the phase in which it has a value: kAlways, but for memory of a block
};

struct Allocation {
  unsigned char* base = nullptr;
  std::uint64_t bytes = 0;
  bool pinned = false;
  std::vector<Word> words;
};

// Memory that kernels may touch.
class Memory {
 public:
  // Aligned to 256 bytes; without values.
  unsigned char* allocate(std::uint64_t bytes, bool pinned);
  void release(const void* base);
  // Null where no allocation has the address.
  Allocation* find(std::uint64_t address);
  void fill(const void* at, std::uint64_t bytes);  // has values now
  std::uint64_t used() const { return used_; }

 private:
  std::map<std::uint64_t, Allocation> all_;
  Allocation* recent_[64] = {};  // by address
  std::uint64_t used_ = 0;
};

struct Block;
class Machine;

enum class State : std::uint8_t { kReady, kAtBarrier, kAtWarpBarrier, kDone };

struct Frame {
  const Function* function;
  std::uint32_t at;
  std::uint32_t base;
};

struct Thread {
  Machine* machine = nullptr;
  Block* block = nullptr;
  const Function* function = nullptr;
  std::uint32_t index = 0;
  std::uint32_t at = 0;
  std::uint32_t base = 0;
  std::uint32_t warp_barriers = 0;
  State state = State::kDone;
  bool yields = false;  // it waits for another block, perhaps
  std::uint64_t steps = 0;
  std::uint64_t* registers = nullptr;
  const std::uint64_t* constants = nullptr;
  std::vector<std::uint64_t> stack;
  std::vector<Frame> frames;
  Clock known;    // that its block may not know yet
  Clock pending;  // read from an atomic, known after a fence
  Clock fenced;   // what the last fence made known to whoever reads what is written after it

  std::uint64_t bits(std::int32_t slot) const { return slot < 0 ? constants[-slot - 1] : registers[slot]; }
  template <typename T>
  T get(std::int32_t slot) const {
    const std::uint64_t all = bits(slot);
    T value;
    std::memcpy(&value, &all, sizeof value);
    return value;
  }
  template <typename T>
  void put(std::int32_t slot, T value) {
    std::uint64_t all = 0;
    std::memcpy(&all, &value, sizeof value);
    registers[slot] = all;
  }
};

// Lines that a multiprocessor has read.
struct Cache {
  static constexpr std::uint64_t kLine = 128;
  static constexpr std::uint64_t kLines = 64;
  std::uint64_t tags[kLines] = {};  // address of the line; 0 for none
  unsigned char data[kLines][kLine];
};

struct Block {
  std::uint32_t index = 0;
  std::uint32_t turn = 0;  // this block's number among all that ever ran
  Cache* cache = nullptr;
  std::uint32_t barriers = 0;
  std::uint32_t waiting = 0;
  std::uint32_t waiting_in_warp[32] = {};
  std::uint32_t done = 0;
  std::uint32_t waiting_line = 0;
  Clock known;
  std::vector<unsigned char> shared;
  std::vector<Word> words;
  std::vector<Thread> threads;
};

struct Launch {
  std::string kernel;
  std::uint32_t blocks = 0;
  std::uint32_t threads = 0;
  std::uint64_t shared_bytes = 0;
  bool cooperative = false;
  std::vector<unsigned char> parameters;
  void* workspace = nullptr;  // of a cooperative launch: four bytes of size, four of barrier
};

class Machine {
 public:
  Machine(Program program, std::uint64_t seed, unsigned multiprocessors, unsigned blocks_each);

  Memory memory;
  std::map<std::string, std::uint64_t> executed;  // instructions, by kernel
  const Program& program() const { return program_; }
  void run(const Launch& launch);

  // Of handlers.
  void access(Thread& thread, const Instruction& one, std::uint64_t address, void* values, bool writes);
  template <typename T, typename F>
  void update(Thread& thread, const Instruction& one, const F& f);
  void fence(Thread& thread, bool wide);
  void reach_barrier(Thread& thread, const Instruction& one);
  void reach_warp_barrier(Thread& thread, const Instruction& one);
  void finish(Thread& thread);
  [[noreturn]] void fail(const Thread& thread, const std::string& why) const;

  const Launch* launch = nullptr;

 private:
  struct Place {  // where an access goes
    unsigned char* data;
    Word* words;
    std::uint32_t phase;
    bool shared;
    bool cached;
  };
  Place place(Thread& thread, const Instruction& one, std::uint64_t address, std::uint64_t bytes);
  bool ordered(const Thread& thread, const Accesses& before, std::uint32_t phase) const;
  void note(const Thread& thread, Accesses& accesses, std::uint32_t phase, bool strong, bool joins,
            std::uint32_t barrier) const;
  void check(const Thread& thread, const Instruction& one, Word& word, const Place& at, bool writes);
  void start(Block& block, std::uint32_t index);
  void acquire(Thread& thread, const Clock& clock);
  Clock released(const Thread& thread) const;
  void turn(Thread& thread);

  Program program_;
  std::minstd_rand random_;
  std::vector<std::unique_ptr<Cache>> caches_;
  unsigned blocks_each_;
  const Function* function_ = nullptr;
  std::uint32_t launches_ = 0;
  std::uint32_t turns_ = 0;
  std::vector<std::unique_ptr<Block>> resident_;
  std::vector<Thread*> ready_;
  std::unordered_map<std::uint64_t, Clock> released_at_;  // by an atomic's address
};

}  // namespace ptx
