#include "thread_pool.h"

#include <chrono>
#include <system_error>
#include <thread>

#include "../core/control_word.h"

#if defined(__unix__) || defined(__APPLE__)
#include <csignal>
#endif

namespace vradam {
namespace {

inline void pause() {
#if defined(VRADAM_X86)
  _mm_pause();
#elif defined(VRADAM_ARM64) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

// How long an idle worker watches for the next job before it sleeps: the passes of a step follow each other
// within microseconds, steps of a training loop do not.
constexpr auto kWatch = std::chrono::microseconds(50);
constexpr int kPausesBetweenClockReads = 64;

}  // namespace

ThreadPool& ThreadPool::instance() {
  // Never destroyed: its threads run until the process ends, past the destructors of static objects.
  static ThreadPool* const pool = new ThreadPool();
  return *pool;
}

void ThreadPool::grow(unsigned workers) {
#if defined(__unix__) || defined(__APPLE__)
  // Signals belong to the threads of Node.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
  try {
    while (workers_ < workers) {
      const unsigned worker = workers_ + 1;
      std::thread([this, worker] { work(worker); }).detach();
      workers_ = worker;
    }
  } catch (const std::system_error&) {
    // The system grants no more threads; those that there are do the work.
  }
#if defined(__unix__) || defined(__APPLE__)
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
}

void ThreadPool::run(unsigned threads, std::uint32_t tasks, Function function, void* context) {
  if (threads > tasks) threads = tasks;
  if (threads > kMaxThreads) threads = kMaxThreads;
  std::unique_lock<std::mutex> owner(owner_, std::defer_lock);
  if (threads < 2 || !owner.try_lock()) {
    for (std::uint32_t task = 0; task < tasks; ++task) function(context, task);
    return;
  }
  if (workers_ + 1 < threads) grow(threads - 1);
  if (threads > workers_ + 1) threads = workers_ + 1;

  participants_ = threads;
  function_ = function;
  context_ = context;
  for (unsigned k = 0; k < threads; ++k) {
    const std::uint64_t begin = std::uint64_t{tasks} * k / threads;
    shares_[k].next.store(static_cast<std::uint32_t>(begin), std::memory_order_relaxed);
    shares_[k].end = static_cast<std::uint32_t>(std::uint64_t{tasks} * (k + 1) / threads);
  }
  gate_.fetch_add(kJob | kOpen, std::memory_order_release);
  wake_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();

  take_part(0);

  gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (gate_.load(std::memory_order_acquire) & (kOpen - 1)) != 0; ++spins) {
    if (spins < 4096) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::take_part(unsigned participant) {
  for (unsigned k = 0; k < participants_; ++k) {
    Share& share = shares_[(participant + k) % participants_];
    for (;;) {
      const std::uint32_t task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= share.end) break;
      function_(context_, task);
    }
  }
}

void ThreadPool::work(unsigned worker) {
  const ControlWord ieee;
  std::uint64_t seen = 0;
  for (;;) {
    // Read before the gate: a job that opens after the gate was read then differs from this.
    const std::uint32_t wake = wake_.load(std::memory_order_acquire);
    std::uint64_t gate = gate_.load(std::memory_order_acquire);
    if ((gate & kOpen) != 0 && gate / kJob != seen) {
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) {
        seen = gate / kJob;
        if (worker < participants_) take_part(worker);
        gate_.fetch_sub(1, std::memory_order_acq_rel);
      }
      continue;
    }
    const auto watch_until = std::chrono::steady_clock::now() + kWatch;
    bool woken = false;
    while (!woken && std::chrono::steady_clock::now() < watch_until) {
      for (int k = 0; k < kPausesBetweenClockReads && !woken; ++k) {
        pause();
        woken = wake_.load(std::memory_order_acquire) != wake;
      }
    }
    if (!woken) wake_.wait(wake, std::memory_order_acquire);
  }
}

}  // namespace vradam
