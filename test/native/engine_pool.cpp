// The pool runs every task once, for many callers at a time, and leaves nothing behind.
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "../../native/cpu/dispatch.h"
#include "../../native/cpu/engine.h"
#include "../../native/cpu/state_memory.h"
#include "../../native/cpu/thread_pool.h"
#include "check.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace vradam {
namespace {

void every_task_runs_once() {
  for (const unsigned threads : {1u, 2u, 3u, 8u}) {
    for (const std::uint32_t tasks : {0u, 1u, 2u, 3u, 7u, 100u, 1001u}) {
      std::vector<std::atomic<int>> runs(tasks);
      ThreadPool::instance().run(threads, tasks, [&](std::uint32_t task) { runs[task]++; });
      for (const std::atomic<int>& count : runs) CHECK(count == 1);
    }
  }
}

void many_callers_at_once(int jobs) {
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; ++caller) {
    callers.emplace_back([=] {
      for (int job = 0; job < jobs; ++job) {
        std::atomic<std::uint64_t> sum{0};
        ThreadPool::instance().run(1 + (caller + static_cast<unsigned>(job)) % 4, 50,
                                   [&](std::uint32_t task) { sum += task; });
        CHECK(sum == 49 * 50 / 2);
        if (job % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

void engines_step_from_many_threads() {
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 3; ++caller) {
    callers.emplace_back([=] {
      EngineSettings settings;
      settings.groups = {{0.9, 0.999, 1, 1e-8, 0, 2, 10, false, false}};
      for (int round = 0; round < 5; ++round) {
        CpuEngine engine(settings, *available_kernels().front(), 2);
        engine.add_tensor(0, 100000);
        std::vector<float> p(100000, 1.0f), g(100000, 0.5f);
        const StepScalars scalars = {1e-3, 1, 1};
        const TensorBuffers buffers = {p.data(), p.data(), g.data(), true};
        for (int step = 0; step < 5; ++step) CHECK(engine.step({&buffers, &scalars}).applied());
        for (const float value : p) CHECK(value == p[0] && value < 1.0f);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

#if defined(__linux__)
// Large state is mapped: its pages are there while it lives, and are nobody's afterwards.
void large_state_goes_back_to_the_system() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (const std::uint64_t size : {std::uint64_t{1} << 18, (std::uint64_t{1} << 20) + 1}) {
    std::vector<char*> pages;
    // mincore, because valgrind takes msync of pages that are nobody's for a fault.
    const auto mapped = [&](char* address) {
      unsigned char resident;
      return mincore(address, page, &resident) == 0 || errno != ENOMEM;
    };
    {
      const StateMemory memory(2, size);
      CHECK(memory.untouched());
      char* const end = reinterpret_cast<char*>(memory.array(1) + size);
      for (char* at = reinterpret_cast<char*>(memory.array(0)); at < end; at += page) pages.push_back(at);
      for (char* const at : pages) CHECK(mapped(at));
    }
    for (char* const at : pages) CHECK(!mapped(at));
  }
}
#endif

long resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6));
  }
  return 0;
}

void engines_come_and_go(int count, bool measure) {
  EngineSettings settings;
  settings.groups = {{0.9, 0.999, 1, 1e-8, 0, 2, 10, false, false}};
  std::vector<float> p(5000, 1.0f), g(5000, 0.5f);
  const auto live_once = [&] {
    const auto engine = std::make_unique<CpuEngine>(settings, *available_kernels().front(), 2u);
    engine->add_tensor(0, 5000);
    engine->add_tensor(0, 400000);  // its own pages
    const StepScalars scalars = {1e-3, 1, 1};
    const TensorBuffers buffers[] = {{p.data(), p.data(), g.data(), true}, {}};
    CHECK(engine->step({buffers, &scalars}).applied());
  };
  for (int k = 0; k < 50; ++k) live_once();
  const long before = resident_kilobytes();
  for (int k = 0; k < count; ++k) live_once();
  if (measure) CHECK(resident_kilobytes() - before < 2048);
}

void state_takes_eight_bytes_a_parameter() {
  const std::uint64_t n = 30'000'001;
  EngineSettings settings;
  settings.groups = {{0.9, 0.999, 1, 1e-8, 0, 2, 10, false, false}};
  const long before = resident_kilobytes();
  CpuEngine engine(settings, *available_kernels().front(), 2);
  engine.add_tensor(0, n);
  const double bytes = 1024.0 * static_cast<double>(resident_kilobytes() - before);
  const double state = 8.0 * static_cast<double>(n);
  CHECK(bytes <= state + std::max(1048576.0, 0.001 * state));
  CHECK(bytes >= 0.99 * state);
}

}  // namespace
}  // namespace vradam

// Sanitizers and valgrind keep memory of their own and run slowly: any argument leaves the measurements out.
int main(int argc, char**) {
  const bool brief = argc > 1;
  vradam::every_task_runs_once();
  vradam::many_callers_at_once(brief ? 300 : 5000);
  vradam::engines_step_from_many_threads();
#if defined(__linux__)
  vradam::large_state_goes_back_to_the_system();
#endif
  vradam::engines_come_and_go(brief ? 50 : 10000, !brief);
  if (!brief) vradam::state_takes_eight_bytes_a_parameter();
  std::puts("engine_pool: passed");
}
