// A device made of the host: memory of the host, and passes whose blocks and threads are turns of loops. The
// engine above it and the passes are those of the GPU. It is for tests; the environment makes it fail:
//
//   VRADAM_CUDA_EMULATED_FAULT   no-driver, old-driver, no-device, old-architecture, no-kernels, unusable;
//                                launch: a launch ends the device; refusal: commands are refused; too-large:
//                                the one launch is; pinned: there is no memory of the host that copies could
//                                go through
//   VRADAM_CUDA_EMULATED_AFTER   commands that are obeyed before one is refused
//   VRADAM_CUDA_EMULATED_MEMORY  bytes of device memory
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "../../native/core/control_word.h"
#include "../../native/cuda/passes.cuh"
#include "../../native/cuda/reasons.h"
#include "../../native/cuda/runtime.h"

namespace vradam {
namespace cuda {
namespace {

// Small enough for small tensors to need several chunks a block, and all passes.
constexpr std::uint32_t kBlocks = 3;
constexpr std::uint32_t kKept = 4;
constexpr std::uint64_t kChunksPerPart = 5;

// So small that larger copies take several turns of the ring.
constexpr std::uint64_t kPieceBytes = 1000;

// What there is of the device is one thread's at a time.
std::recursive_mutex device_mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

// A stream: what was enqueued and has not happened. Nothing happens before somebody waits for it, and then of
// another stream only what `order` asks for, so that what relies on luck for its order goes wrong.
class Queue {
 public:
  void enqueue(std::function<void()> work) {
    work_.push_back(std::move(work));
    ++enqueued_;
  }
  void run() { run_until(enqueued_); }
  void run_until(std::uint64_t mark) {
    while (done_ < mark) {
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      ++done_;
      work();
    }
  }
  std::uint64_t enqueued() const { return enqueued_; }

 private:
  std::deque<std::function<void()>> work_;
  std::uint64_t enqueued_ = 0;
  std::uint64_t done_ = 0;
};

// Never destroyed: memory may be released while the process ends.
Queue& own = *new Queue();
Queue& up = *new Queue();
Queue& down = *new Queue();

Queue& of(Stream stream) {
  return *static_cast<Queue*>(stream);
}

void run_all() {
  for (Queue* const queue : {&own, &up, &down}) queue->run();
}

// The threads of one block. Each phase runs them in the opposite order of the one before, so that a phase
// whose threads depend on each other does not pass for correct.
class Threads {
 public:
  Threads(std::uint64_t block, std::uint64_t blocks) : block_(block), blocks_(blocks) {}

  template <typename F>
  void each(const F& f) const {
    forward_ = !forward_;
    for (unsigned i = 0; i < kThreads; ++i) f(forward_ ? i : kThreads - 1 - i);
  }
  void sync() const {}
  void sync_warp() const {}
  std::uint64_t block() const { return block_; }
  std::uint64_t blocks() const { return blocks_; }

 private:
  std::uint64_t block_;
  std::uint64_t blocks_;
  mutable bool forward_ = false;
};

const char* fault() {
  const char* const name = std::getenv("VRADAM_CUDA_EMULATED_FAULT");
  return name == nullptr ? "" : name;
}

bool fails(const char* what) {
  return std::strcmp(fault(), what) == 0;
}

// A command, unless it is the one to refuse.
void obey() {
  static std::uint64_t obeyed = 0;
  if (!fails("refusal")) {
    obeyed = 0;
    return;
  }
  const char* const after = std::getenv("VRADAM_CUDA_EMULATED_AFTER");
  if (obeyed++ == (after == nullptr ? 0 : std::strtoull(after, nullptr, 10))) {
    throw Unavailable(refused("too many resources requested for launch"));
  }
}

// Shared memory of the blocks of a launch, full of NaN until it is written.
class BlockMemories {
 public:
  BlockMemories(std::uint64_t blocks, std::uint64_t bytes, std::uint32_t kept)
      : stride_((bytes + 63) / 64 * 64), kept_(kept), memory_(blocks * stride_ + 64) {
    clear();
  }

  void clear() { std::memset(memory_.data(), 0xff, memory_.size()); }

  Shared of(std::uint64_t block) {
    const auto base = reinterpret_cast<std::uintptr_t>(memory_.data()) + 63;
    auto* const at = reinterpret_cast<unsigned char*>(base / 64 * 64) + block * stride_;
    auto* const floats = reinterpret_cast<float*>(at + sizeof(BlockMemory));
    return {reinterpret_cast<BlockMemory*>(at), floats + kept_ * kChunk, floats};
  }

 private:
  std::uint64_t stride_;
  std::uint32_t kept_;
  std::vector<unsigned char> memory_;
};

// Runs a pass on every block, every other time from the last block to the first.
template <typename Pass>
void run_blocks(std::uint64_t blocks, const Pass& pass) {
  static unsigned turn = 0;
  const ControlWord ieee;
  const bool forward = (turn++ & 1) == 0;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t block = forward ? i : blocks - 1 - i;
    const Threads threads(block, blocks);
    pass(threads, block);
  }
}

// A pass of one launch among others: blocks keep their memory.
template <typename Pass>
void run_together(std::uint64_t blocks, BlockMemories& memories, const Pass& pass) {
  run_blocks(blocks, [&](const Threads& threads, std::uint64_t block) { pass(threads, memories.of(block)); });
}

// A pass in a launch of its own.
template <typename Pass>
void run_alone(std::uint64_t blocks, const Pass& pass) {
  BlockMemories memory(1, shared_bytes(0), 0);
  run_blocks(blocks, [&](const Threads& threads, std::uint64_t) {
    memory.clear();
    pass(threads, memory.of(0));
  });
}

// Runs f with the kind of rules that a step's passes are made for, as a constant.
template <typename F>
void with_rules(const StepView& step, const F& f) {
  if (rules_with(step.rule) == Rules::kAdam) {
    f(std::integral_constant<Rules, Rules::kAdam>());
  } else {
    f(std::integral_constant<Rules, Rules::kOthers>());
  }
}

// Enqueues a pass; `run` runs it.
void launch(Stream stream, std::function<void()> run) {
  if (fails("launch")) throw DeviceLost(lost("an illegal memory access was encountered"));
  obey();
  const Lock lock(device_mutex);
  of(stream).enqueue(std::move(run));
}

std::map<void*, std::uint64_t>& allocations() {
  static std::map<void*, std::uint64_t> all;
  return all;
}
std::uint64_t allocated = 0;

// Work of another library on this device: it happens when somebody waits for the device, and not before.
std::atomic<void (*)()> foreign_work{nullptr};

thread_local std::chrono::steady_clock::time_point clock_start;

}  // namespace

namespace runtime {

CudaDevice probe() {
  if (fails("no-driver")) throw Unavailable(no_driver());
  if (fails("old-driver")) throw Unavailable(old_driver(12040, 13000));
  if (fails("no-device")) throw Unavailable(no_device());
  if (fails("old-architecture")) throw Unavailable(old_architecture("NVIDIA Tesla P100", 60));
  if (fails("no-kernels")) throw Unavailable(no_kernels("NVIDIA GPU of tomorrow", 200));
  if (fails("unusable")) throw Unavailable(unusable("NVIDIA H100", "out of memory"));
  CudaDevice device{};
  std::strcpy(device.name, "emulation on the host");
  device.multiprocessors = kBlocks;
  return device;
}

Stream stream() {
  return &own;
}

void* allocate(std::uint64_t bytes) {
  if (bytes == 0) return nullptr;
  const char* const limit = std::getenv("VRADAM_CUDA_EMULATED_MEMORY");
  const std::uint64_t most = limit == nullptr ? ~std::uint64_t{0} : std::strtoull(limit, nullptr, 10);
  const Lock lock(device_mutex);
  const std::uint64_t free = most > allocated ? most - allocated : 0;
  if (bytes > free) throw OutOfDeviceMemory(no_memory(bytes, free, most));
  void* const memory = std::calloc(1, bytes);
  if (memory == nullptr) throw OutOfDeviceMemory(no_memory(bytes, 0, most));
  try {
    allocations()[memory] = bytes;
  } catch (...) {
    std::free(memory);
    throw;
  }
  allocated += bytes;
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  const Lock lock(device_mutex);
  const auto found = allocations().find(memory);
  allocated -= found->second;
  allocations().erase(found);
  for (Queue* const queue : {&up, &down}) {
    own.enqueue([queue, mark = queue->enqueued()] { queue->run_until(mark); });
  }
  own.enqueue([memory] { std::free(memory); });
}

void* allocate_pinned(std::uint64_t bytes) {
  void* const memory = fails("pinned") ? nullptr : std::calloc(1, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release_pinned(void* memory) noexcept {
  const Lock lock(device_mutex);
  run_all();
  std::free(memory);
}

void copy(Stream stream, void* to, const void* from, std::uint64_t bytes) {
  if (bytes == 0) return;
  obey();
  const Lock lock(device_mutex);
  of(stream).enqueue([=] { std::memcpy(to, from, bytes); });
}

void zero(Stream stream, void* device, std::uint64_t bytes) {
  if (bytes == 0) return;
  const Lock lock(device_mutex);
  of(stream).enqueue([=] { std::memset(device, 0, bytes); });
}

void synchronize(Stream stream) {
  const Lock lock(device_mutex);
  of(stream).run();
}

CopyStreams copy_streams() {
  return {&up, &down};
}

void order(Stream before, Stream after) {
  obey();
  const Lock lock(device_mutex);
  Queue& first = of(before);
  of(after).enqueue([&first, mark = first.enqueued()] { first.run_until(mark); });
}

std::uint64_t chunks_per_part() {
  return kChunksPerPart;
}

struct Mark {
  Queue* queue = nullptr;
  std::uint64_t at = 0;
};

Mark* make_mark() {
  return new Mark();
}

void set_mark(Mark* mark, Stream stream) {
  const Lock lock(device_mutex);
  *mark = {&of(stream), of(stream).enqueued()};
}

void wait_for(Mark* mark) {
  const Lock lock(device_mutex);
  if (mark->queue != nullptr) mark->queue->run_until(mark->at);
}

std::uint64_t piece_bytes() {
  return kPieceBytes;
}

void require_device_memory(const void* memory) {
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  const Lock lock(device_mutex);
  for (const auto& [base, bytes] : allocations()) {
    const auto begin = reinterpret_cast<std::uintptr_t>(base);
    if (at >= begin && at < begin + bytes) return;
  }
  throw Misplaced(on_host());
}

void synchronize_device() {
  const Lock lock(device_mutex);
  run_all();
  if (void (*const work)() = foreign_work) work();
}

LaunchPlan plan_launches(CudaLaunches wanted, std::uint64_t chunks, std::uint32_t groups) {
  LaunchPlan plan;
  const std::uint64_t each = (chunks + kBlocks - 1) / kBlocks;
  if (wanted == CudaLaunches::kPasses || each > kKept || groups > kGroupsOnChip) return plan;
  plan.one_launch = true;
  plan.blocks = static_cast<std::uint32_t>(chunks < kBlocks ? (chunks == 0 ? 1 : chunks) : kBlocks);
  plan.kept = static_cast<std::uint32_t>(each);
  plan.shared_bytes = shared_bytes(plan.kept);
  return plan;
}

bool launch_whole_step(Stream stream, const LaunchPlan& plan, const StepView& step) {
  if (fails("too-large")) return false;
  launch(stream, [=] {
    BlockMemories memories(plan.blocks, plan.shared_bytes, plan.kept);
    run_together(plan.blocks, memories,
                 [&](const Threads& t, const Shared& shared) { look_up_chunks(t, shared, step); });
    if (step.clips) {
      run_together(plan.blocks, memories,
                   [&](const Threads& t, const Shared& shared) { norm_pass<false>(t, shared, step); });
    }
    with_rules(step, [&](auto rules) {
      run_together(plan.blocks, memories, [&](const Threads& t, const Shared& shared) {
        penalty_pass<false, decltype(rules)::value>(t, shared, step);
      });
      run_together(plan.blocks, memories, [&](const Threads& t, const Shared& shared) {
        update_pass<false, decltype(rules)::value>(t, shared, step);
      });
    });
  });
  return true;
}

void launch_norm_pass(Stream stream, const StepView& step) {
  launch(stream, [=] {
    run_alone(blocks_to_read(step),
              [&](const Threads& t, const Shared& shared) { norm_pass<true>(t, shared, step); });
  });
}

void launch_penalty_pass(Stream stream, const StepView& step) {
  launch(stream, [=] {
    with_rules(step, [&](auto rules) {
      run_alone(step.reads ? blocks_to_read(step) : 1, [&](const Threads& t, const Shared& shared) {
        penalty_pass<true, decltype(rules)::value>(t, shared, step);
      });
    });
  });
}

void launch_reduce_pass(Stream stream, const Runs& from, const Runs& to, std::uint32_t runs,
                        std::uint64_t results) {
  launch(stream, [=] {
    run_alone(results,
              [&](const Threads& t, const Shared& shared) { reduce_pass(t, shared, from, to, runs); });
  });
}

void launch_settle_norm(Stream stream, const StepView& step) {
  launch(stream, [=] {
    run_alone(1,
              [&](const Threads& t, const Shared& shared) { settle_norm(t, shared, step, step.decision); });
  });
}

void launch_settle(Stream stream, const StepView& step) {
  launch(stream, [=] {
    run_alone(1, [&](const Threads& t, const Shared& shared) {
      settle(t, shared, step, step.decision, step.group_decisions);
    });
  });
}

void launch_accumulate_pass(Stream stream, const StepView& step, std::uint32_t calls) {
  launch(stream, [=] {
    run_alone(kBlocks,
              [&](const Threads& t, const Shared& shared) { accumulate_pass(t, shared, step, calls); });
  });
}

void launch_update_pass(Stream stream, const StepView& step) {
  const std::uint64_t chunks = step.end_chunk - step.first_chunk;
  launch(stream, [=] {
    with_rules(step, [&](auto rules) {
      run_alone(chunks == 0 ? 1 : chunks, [&](const Threads& t, const Shared& shared) {
        update_pass<true, decltype(rules)::value>(t, shared, step);
      });
    });
  });
}

void start_clock() {
  clock_start = std::chrono::steady_clock::now();
}

double stop_clock() {
  synchronize(stream());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - clock_start).count();
}

}  // namespace runtime
}  // namespace cuda
}  // namespace vradam

// For tests: what another library's streams have yet to do whenever somebody waits for the device.
extern "C" __attribute__((visibility("default"))) void vradam_emulated_foreign_work(void (*work)()) {
  vradam::cuda::foreign_work = work;
}
