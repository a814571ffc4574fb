// A persistent pool of threads for steps of some microseconds to some milliseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace vradam {

// One pool serves the process. A job is a number of tasks that threads claim until none is left; the caller
// works too, so a job never waits for a thread to wake. Each thread begins with its own share, the same one
// in every job of as many tasks, so that what a pass left in a core's cache the next one finds there. A
// caller that finds the pool at work for somebody else does its job alone: as many callers as cores need no
// further threads.
class ThreadPool {
 public:
  using Function = void (*)(void* context, std::uint32_t task);

  static ThreadPool& instance();

  // Calls function(context, task) once for each task < tasks, on at most `threads` threads, and returns when
  // all calls have. The function must not throw.
  void run(unsigned threads, std::uint32_t tasks, Function function, void* context);

  template <typename F>
  void run(unsigned threads, std::uint32_t tasks, const F& f) {
    run(
        threads, tasks, [](void* context, std::uint32_t task) { (*static_cast<const F*>(context))(task); },
        const_cast<F*>(&f));
  }

  static constexpr unsigned kMaxThreads = 256;

 private:
  ThreadPool() = default;
  void grow(unsigned workers);
  void work(unsigned worker);
  void take_part(unsigned participant);

  struct alignas(64) Share {
    std::atomic<std::uint32_t> next{0};
    std::uint32_t end = 0;
  };

  // Open jobs and the workers inside them, in one word: a worker enters only where the job is still open.
  static constexpr std::uint64_t kOpen = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kJob = std::uint64_t{1} << 33;

  alignas(64) std::atomic<std::uint64_t> gate_{0};
  alignas(64) std::atomic<std::uint32_t> wake_{0};
  alignas(64) std::mutex owner_;
  unsigned workers_ = 0;

  unsigned participants_ = 0;
  Function function_ = nullptr;
  void* context_ = nullptr;
  Share shares_[kMaxThreads];
};

}  // namespace vradam
