#include "machine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace ptx {
namespace {

constexpr std::uint64_t kMostSteps = 50'000'000;
constexpr std::uint32_t kWarp = 32;

void join(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size());
  for (std::size_t i = 0; i < other.size(); ++i) into[i] = std::max(into[i], other[i]);
}

std::uint32_t at(const Clock& clock, std::uint32_t block) {
  return block < clock.size() ? clock[block] : 0;
}

std::uint64_t address_of(const Thread& t, const Instruction& one) {
  const std::uint64_t base = t.bits(one.base);
  if (one.space == Space::kShared) {
    return kSharedWindow + static_cast<std::uint32_t>(base + static_cast<std::uint64_t>(one.offset));
  }
  return base + static_cast<std::uint64_t>(one.offset);
}

void load(Thread& t, const Instruction& one) {
  const std::uint64_t address = address_of(t, one);
  unsigned char values[32];
  if (address >= kParameterWindow) {
    const std::vector<unsigned char>& parameters = t.machine->launch->parameters;
    const std::uint64_t from = address - kParameterWindow;
    if (from + std::uint64_t{one.width} * one.count > parameters.size())
      t.machine->fail(t, "beyond the parameters");
    std::memcpy(values, parameters.data() + from, std::uint64_t{one.width} * one.count);
  } else {
    t.machine->access(t, one, address, values, false);
  }
  for (unsigned k = 0; k < one.count; ++k) {
    std::uint64_t value = 0;
    std::memcpy(&value, values + k * one.width, one.width);
    if (one.is_signed && one.width < 4) {
      const unsigned unused = 64 - 8 * one.width;
      value = static_cast<std::uint32_t>(static_cast<std::int64_t>(value << unused) >> unused);
    }
    t.registers[one.slots[k]] = value;
  }
}

void store(Thread& t, const Instruction& one) {
  unsigned char values[32];
  for (unsigned k = 0; k < one.count; ++k) {
    const std::uint64_t value = t.bits(one.slots[k]);
    std::memcpy(values + k * one.width, &value, one.width);
  }
  t.machine->access(t, one, address_of(t, one), values, true);
}

template <typename F>
void atomic(Thread& t, const Instruction& one, const F& f) {
  if (one.width == 8) {
    t.machine->update<std::uint64_t>(t, one, f);
  } else if (one.is_signed) {
    t.machine->update<std::int32_t>(t, one, f);
  } else {
    t.machine->update<std::uint32_t>(t, one, f);
  }
}

void call(Thread& t, const Instruction& one) {
  const Function& callee = t.machine->program().functions.at(one.name);
  const auto base = t.base + static_cast<std::uint32_t>(t.function->slots.size());
  if (t.stack.size() < base + callee.slots.size()) t.stack.resize(base + callee.slots.size());
  t.registers = t.stack.data() + t.base;
  std::uint64_t* const registers = t.stack.data() + base;
  for (std::size_t k = 0; k < one.arguments.size(); ++k) {
    registers[callee.parameter_slots[k]] = t.bits(one.arguments[k]);
  }
  t.frames.push_back({t.function, t.at, t.base});
  t.function = &callee;
  t.at = 0;
  t.base = base;
  t.registers = registers;
}

void leave(Thread& t, const Instruction&) {
  if (t.frames.empty()) return t.machine->finish(t);
  const Frame frame = t.frames.back();
  t.frames.pop_back();
  const std::uint64_t result = t.registers[t.function->result_slot];
  t.function = frame.function;
  t.at = frame.at;
  t.base = frame.base;
  t.registers = t.stack.data() + t.base;
  t.registers[t.function->code[t.at - 1].slots[0]] = result;
}

void special(Thread& t, const Instruction& one) {
  const auto workspace = reinterpret_cast<std::uint64_t>(t.machine->launch->workspace);
  const std::uint64_t values[] = {t.index,
                                  0,
                                  0,
                                  t.block->index,
                                  0,
                                  0,
                                  t.machine->launch->blocks,
                                  1,
                                  1,
                                  workspace >> 32,
                                  workspace & 0xffffffff};
  t.put<std::uint32_t>(one.slots[0], static_cast<std::uint32_t>(values[one.offset]));
}

}  // namespace

const MachineHandlers& machine_handlers() {
  static const MachineHandlers handlers = {
      load,
      store,
      [](Thread& t, const Instruction& one) { atomic(t, one, [](auto a, auto b) { return a + b; }); },
      [](Thread& t, const Instruction& one) { atomic(t, one, [](auto a, auto b) { return a < b ? b : a; }); },
      [](Thread& t, const Instruction& one) { atomic(t, one, [](auto a, auto b) { return b < a ? b : a; }); },
      [](Thread& t, const Instruction& one) { t.machine->fence(t, one.offset != 0); },
      [](Thread& t, const Instruction& one) { t.machine->reach_barrier(t, one); },
      [](Thread& t, const Instruction& one) { t.machine->reach_warp_barrier(t, one); },
      [](Thread& t, const Instruction& one) { t.at = one.target; },
      call,
      leave,
      [](Thread& t, const Instruction&) { t.machine->fail(t, "trap"); },
      special,
  };
  return handlers;
}

void stop(const std::string& why) {
  std::printf("PTX: %s\n", why.c_str());
  std::fflush(stdout);
  std::_Exit(9);
}

unsigned char* Memory::allocate(std::uint64_t bytes, bool pinned) {
  void* base = nullptr;
  if (posix_memalign(&base, 256, (bytes + 255) / 256 * 256) != 0) return nullptr;
  Allocation& made = all_[reinterpret_cast<std::uint64_t>(base)];
  made = {static_cast<unsigned char*>(base), bytes, pinned, std::vector<Word>((bytes + 3) / 4)};
  used_ += bytes;
  return made.base;
}

void Memory::release(const void* base) {
  const auto found = all_.find(reinterpret_cast<std::uint64_t>(base));
  if (found == all_.end()) stop("memory is released that was not allocated");
  used_ -= found->second.bytes;
  std::free(found->second.base);
  all_.erase(found);
  std::fill(std::begin(recent_), std::end(recent_), nullptr);
}

Allocation* Memory::find(std::uint64_t address) {
  const auto holds = [&](const Allocation& one) {
    return address - reinterpret_cast<std::uint64_t>(one.base) < one.bytes;
  };
  Allocation*& recent = recent_[address / 4096 % 64];
  if (recent != nullptr && holds(*recent)) return recent;
  auto after = all_.upper_bound(address);
  if (after == all_.begin() || !holds((--after)->second)) return nullptr;
  return recent = &after->second;
}

void Memory::fill(const void* from, std::uint64_t bytes) {
  const auto address = reinterpret_cast<std::uint64_t>(from);
  Allocation* const to = find(address);
  if (to == nullptr || bytes == 0) return;
  const std::uint64_t first = address - reinterpret_cast<std::uint64_t>(to->base);
  for (std::uint64_t word = first / 4; word <= (first + bytes - 1) / 4; ++word)
    to->words[word].filled = kAlways;
}

Machine::Machine(Program program, std::uint64_t seed, unsigned multiprocessors, unsigned blocks_each)
    : program_(std::move(program)), random_(static_cast<unsigned>(seed)), blocks_each_(blocks_each) {
  for (unsigned k = 0; k < multiprocessors; ++k) caches_.push_back(std::make_unique<Cache>());
}

void Machine::fail(const Thread& thread, const std::string& why) const {
  const std::uint32_t line = thread.function->code[thread.at == 0 ? 0 : thread.at - 1].line;
  stop(why + "\n  in " + launch->kernel + ", block " + std::to_string(thread.block->index) + ", thread " +
       std::to_string(thread.index) + ", line " + std::to_string(line) + ": " + program_.lines[line - 1]);
}

Machine::Place Machine::place(Thread& thread, const Instruction& one, std::uint64_t address,
                              std::uint64_t bytes) {
  if (address % bytes != 0) fail(thread, "an address that is not a multiple of " + std::to_string(bytes));
  if (address >= kSharedWindow) {
    Block& block = *thread.block;
    const std::uint64_t from = address - kSharedWindow;
    if (one.space == Space::kGlobal) fail(thread, "shared memory is not global");
    if (from + bytes > launch->shared_bytes) fail(thread, "beyond the shared memory");
    return {block.shared.data() + from, block.words.data() + from / 4, block.turn, true, false};
  }
  Allocation* const allocation = memory.find(address);
  if (allocation == nullptr) fail(thread, "memory that is not there");
  const std::uint64_t from = address - reinterpret_cast<std::uint64_t>(allocation->base);
  if (from + bytes > allocation->bytes) fail(thread, "beyond the end of an allocation");
  return {allocation->base + from, allocation->words.data() + from / 4, launches_, false,
          !allocation->pinned};
}

// Whether the thread knows of everything that was done there in this launch.
bool Machine::ordered(const Thread& thread, const Accesses& before, std::uint32_t phase) const {
  if (before.phase != phase) return true;
  const Block& mine = *thread.block;
  const auto knows = [&](std::uint32_t block) {
    return std::max(at(mine.known, block), at(thread.known, block));
  };
  if (before.blocks) {
    for (std::uint32_t block = 0; block < before.blocks->size(); ++block) {
      if (block != mine.index && knows(block) < (*before.blocks)[block]) return false;
    }
    if (before.block != mine.index) return (*before.blocks)[mine.index] <= mine.barriers;
  }
  if (before.block != mine.index) return knows(before.block) > before.barrier;
  if (before.barrier < mine.barriers) return true;
  if (before.thread == thread.index && !before.several_threads) return true;
  return before.thread / kWarp == thread.index / kWarp && !before.several_warps &&
         before.warp_barrier < thread.warp_barriers;
}

void Machine::note(const Thread& thread, Accesses& accesses, std::uint32_t phase, bool strong, bool joins,
                   std::uint32_t barrier) const {
  const Block& mine = *thread.block;
  if (accesses.phase != phase || !joins) {
    accesses.blocks.reset();
    accesses.strong = strong;
  } else {
    accesses.strong = accesses.strong && strong;
    if (accesses.block == mine.index && accesses.barrier == barrier) {
      if (accesses.thread / kWarp != thread.index / kWarp) accesses.several_warps = true;
      if (accesses.thread != thread.index) accesses.several_threads = true;
      accesses.warp_barrier = std::max(accesses.warp_barrier, thread.warp_barriers);
      return;
    }
    if (accesses.block != mine.index && !accesses.blocks) {
      accesses.blocks = std::make_unique<Clock>(launch->blocks);
      (*accesses.blocks)[accesses.block] = accesses.barrier + 1;
    }
    if (accesses.blocks) (*accesses.blocks)[mine.index] = barrier + 1;
  }
  accesses.phase = phase;
  accesses.block = mine.index;
  accesses.barrier = barrier;
  accesses.warp_barrier = thread.warp_barriers;
  accesses.thread = static_cast<std::uint16_t>(thread.index);
  accesses.several_threads = accesses.several_warps = false;
}

void Machine::check(const Thread& thread, const Instruction& one, Word& word, const Place& at, bool writes) {
  const bool strong = one.strength >= Strength::kRelaxed;
  if (!(strong && word.writes.strong) && !ordered(thread, word.writes, at.phase)) {
    fail(thread, std::string(writes ? "a write" : "a read") +
                     " that is not ordered behind a write of block " + std::to_string(word.writes.block) +
                     ", thread " + std::to_string(word.writes.thread));
  }
  if (!writes) {
    if (!strong) note(thread, word.reads, at.phase, false, true, thread.block->barriers);
    return;
  }
  if (!ordered(thread, word.reads, at.phase)) {
    fail(thread, "a write that is not ordered behind a read of block " + std::to_string(word.reads.block) +
                     ", thread " + std::to_string(word.reads.thread));
  }
  word.reads.phase = 0;
  // Who reads what is released by a strong write knows of the write, too.
  const std::uint32_t barriers = thread.block->barriers;
  const bool releases =
      strong && barriers != 0 &&
      (one.strength >= Strength::kRelease || ptx::at(thread.fenced, thread.block->index) == barriers);
  note(thread, word.writes, at.phase, strong, strong && word.writes.strong, barriers - releases);
  word.filled = at.shared ? at.phase : kAlways;
}

void Machine::access(Thread& thread, const Instruction& one, std::uint64_t address, void* values,
                     bool writes) {
  const std::uint64_t bytes = std::uint64_t{one.width} * one.count;
  const Place to = place(thread, one, address, bytes);
  const std::uint64_t words = (address % 4 + bytes + 3) / 4;
  for (std::uint64_t k = 0; k < words; ++k) {
    if (!writes && to.words[k].filled != kAlways && to.words[k].filled != to.phase) {
      fail(thread, "a read of memory that nobody has written");
    }
    check(thread, one, to.words[k], to, writes);
  }
  Cache& cache = *thread.block->cache;
  const std::uint64_t line = address / Cache::kLine;
  std::uint64_t& tag = cache.tags[line % Cache::kLines];
  unsigned char* const cached = cache.data[line % Cache::kLines];
  if (writes) {
    std::memcpy(to.data, values, bytes);
    if (to.cached && tag == line) std::memcpy(cached + address % Cache::kLine, values, bytes);
  } else if (!to.cached || one.strength != Strength::kWeak) {
    std::memcpy(values, to.data, bytes);
  } else {
    if (tag != line || random_() % 16 == 0) {
      std::memcpy(cached, to.data - address % Cache::kLine, Cache::kLine);
      tag = line;
    }
    std::memcpy(values, cached + address % Cache::kLine, bytes);
  }
  if (one.strength == Strength::kWeak || !to.cached) return;
  if (writes) {
    Clock& there = released_at_[address];
    join(there, one.strength == Strength::kRelease ? released(thread) : thread.fenced);
  } else if (const auto there = released_at_.find(address); there != released_at_.end()) {
    if (one.strength == Strength::kAcquire) {
      acquire(thread, there->second);
    } else {
      join(thread.pending, there->second);
    }
  }
  if (one.strength == Strength::kAcquire) acquire(thread, {});
  thread.yields = true;
}

template <typename T, typename F>
void Machine::update(Thread& thread, const Instruction& one, const F& f) {
  const std::uint64_t address = address_of(thread, one);
  const Place to = place(thread, one, address, sizeof(T));
  if (!to.cached) fail(thread, "an atomic operation on memory that is not the device's");
  for (std::uint64_t k = 0; k < sizeof(T) / 4; ++k) {
    if (to.words[k].filled != kAlways) fail(thread, "a read of memory that nobody has written");
    check(thread, one, to.words[k], to, true);
  }
  T old;
  std::memcpy(&old, to.data, sizeof old);
  const T next = static_cast<T>(f(old, thread.get<T>(one.slots[1])));
  std::memcpy(to.data, &next, sizeof next);
  thread.put<T>(one.slots[0], old);
  std::uint64_t& tag = thread.block->cache->tags[address / Cache::kLine % Cache::kLines];
  if (tag == address / Cache::kLine) tag = 0;
  const bool releases = one.strength == Strength::kRelease || one.strength == Strength::kAcquireRelease;
  Clock& there = released_at_[address];
  if (one.strength == Strength::kAcquire || one.strength == Strength::kAcquireRelease) {
    acquire(thread, there);
  } else {
    join(thread.pending, there);
  }
  join(there, releases ? released(thread) : thread.fenced);
}

// What the block did before its last barrier, and what it knows.
Clock Machine::released(const Thread& thread) const {
  Clock clock(launch->blocks);
  join(clock, thread.block->known);
  join(clock, thread.known);
  clock[thread.block->index] = std::max(clock[thread.block->index], thread.block->barriers);
  return clock;
}

void Machine::acquire(Thread& thread, const Clock& clock) {
  join(thread.known, clock);
  std::fill(std::begin(thread.block->cache->tags), std::end(thread.block->cache->tags), 0);
}

void Machine::fence(Thread& thread, bool wide) {
  if (!wide) return;
  acquire(thread, thread.pending);
  thread.pending.clear();
  thread.fenced = released(thread);
}

void Machine::reach_barrier(Thread& thread, const Instruction& one) {
  Block& block = *thread.block;
  if (block.waiting == 0) block.waiting_line = one.line;
  if (block.waiting_line != one.line) fail(thread, "threads of one block wait at different barriers");
  if (block.done != 0) fail(thread, "a barrier that not all threads reach");
  thread.state = State::kAtBarrier;
  if (++block.waiting < launch->threads) return;
  block.waiting = 0;
  ++block.barriers;
  for (Thread& other : block.threads) {
    join(block.known, other.known);
    other.known.clear();
    other.state = State::kReady;
    if (&other != &thread) ready_.push_back(&other);
  }
}

void Machine::reach_warp_barrier(Thread& thread, const Instruction& one) {
  if (thread.get<std::uint32_t>(one.slots[0]) != ~0u) fail(thread, "a barrier of a part of a warp");
  const std::uint32_t warp = thread.index / kWarp;
  thread.state = State::kAtWarpBarrier;
  if (++thread.block->waiting_in_warp[warp] < kWarp) return;
  thread.block->waiting_in_warp[warp] = 0;
  for (std::uint32_t k = warp * kWarp; k < (warp + 1) * kWarp; ++k) {
    Thread& other = thread.block->threads[k];
    ++other.warp_barriers;
    other.state = State::kReady;
    if (&other != &thread) ready_.push_back(&other);
  }
}

void Machine::finish(Thread& thread) {
  thread.state = State::kDone;
  executed[launch->kernel] += thread.steps + 1;
  ++thread.block->done;
  if (thread.block->waiting != 0 || thread.block->waiting_in_warp[thread.index / kWarp] != 0) {
    fail(thread, "a barrier that not all threads reach");
  }
}

void Machine::start(Block& block, std::uint32_t index) {
  block.index = index;
  block.turn = ++turns_;
  block.barriers = block.waiting = block.done = 0;
  std::fill(std::begin(block.waiting_in_warp), std::end(block.waiting_in_warp), 0);
  block.known.clear();
  if (block.shared.size() < launch->shared_bytes) {
    block.shared.resize(launch->shared_bytes);
    block.words = std::vector<Word>((launch->shared_bytes + 3) / 4);
  }
  block.threads.resize(launch->threads);
  for (std::uint32_t k = 0; k < launch->threads; ++k) {
    Thread& thread = block.threads[k];
    if (thread.stack.size() < function_->slots.size()) thread.stack.resize(function_->slots.size());
    thread.machine = this;
    thread.block = &block;
    thread.function = function_;
    thread.index = k;
    thread.at = thread.base = thread.warp_barriers = 0;
    thread.state = State::kReady;
    thread.steps = 0;
    thread.registers = thread.stack.data();
    thread.constants = program_.constants.data();
    thread.frames.clear();
    thread.known.clear();
    thread.pending.clear();
    thread.fenced.clear();
    ready_.push_back(&thread);
  }
}

// Some instructions of one thread.
void Machine::turn(Thread& thread) {
  thread.yields = false;
  const std::uint64_t end = thread.steps + (std::uint64_t{1} << (random_() % 14));
  while (thread.steps != end && thread.state == State::kReady && !thread.yields) {
    const Instruction& one = thread.function->code[thread.at++];
    if (one.predicate < 0 || (thread.registers[one.predicate] != 0) != one.negated) one.run(thread, one);
    ++thread.steps;
  }
  if (thread.steps > kMostSteps) fail(thread, "a thread that does not end");
}

void Machine::run(const Launch& what) {
  launch = &what;
  function_ = &program_.functions.at(what.kernel);
  ++launches_;
  released_at_.clear();
  for (const auto& cache : caches_) std::fill(std::begin(cache->tags), std::end(cache->tags), 0);
  std::vector<std::uint32_t> waiting(what.blocks);
  for (std::uint32_t k = 0; k < what.blocks; ++k) waiting[k] = k;
  std::shuffle(waiting.begin(), waiting.end(), random_);
  const std::size_t room = caches_.size() * blocks_each_;
  if (what.cooperative && waiting.size() > room)
    stop(what.kernel + " wants more blocks at once than there is room");
  while (resident_.size() < room) {
    resident_.push_back(std::make_unique<Block>());
    resident_.back()->cache = caches_[resident_.size() % caches_.size()].get();
  }
  std::size_t running = 0;
  for (const auto& block : resident_) {
    if (waiting.empty()) break;
    start(*block, waiting.back());
    waiting.pop_back();
    ++running;
  }
  while (running != 0) {
    if (ready_.empty()) stop("the threads of " + what.kernel + " wait for ever");
    const std::size_t k = random_() % ready_.size();
    Thread& thread = *ready_[k];
    turn(thread);
    if (thread.state == State::kReady) continue;
    ready_[k] = ready_.back();
    ready_.pop_back();
    Block& block = *thread.block;
    if (thread.state != State::kDone || block.done != what.threads) continue;
    if (waiting.empty()) {
      --running;
    } else {
      start(block, waiting.back());
      waiting.pop_back();
    }
  }
  launch = nullptr;
}

}  // namespace ptx
