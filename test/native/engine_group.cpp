// A group of threads: at any number of ranks, the bytes of one engine that was given the reduced gradients.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "../../native/cpu/dispatch.h"
#include "../../native/cpu/engine.h"
#include "../../native/group/sharded_engine.h"
#include "check.h"

namespace vradam {
namespace {

using test::random_floats;
using test::same_bytes;
using test::state_of;

// What is on its way between threads. `lost` threads never answer.
struct Mail {
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<std::vector<char>>> letters;
  std::vector<bool> lost;
};

class ThreadTransport : public Transport {
 public:
  // Is lost after so many transfers.
  ThreadTransport(std::shared_ptr<Mail> mail, std::uint32_t rank, std::uint64_t life)
      : mail_(std::move(mail)), rank_(rank), life_(life) {}

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return static_cast<std::uint32_t>(mail_->lost.size()); }

  void begin(const GroupMessage* sends, const GroupMessage* receives) override {
    const std::lock_guard<std::mutex> lock(mail_->mutex);
    if (life_-- == 0) abort_locked();
    if (mail_->lost[rank_]) throw TransportFailure("gone", -1);
    for (std::uint32_t r = 0; r < size(); ++r) {
      if (r == rank_ || sends[r].bytes == 0) continue;
      const char* const from = static_cast<const char*>(sends[r].memory);
      mail_->letters[{rank_, r}].emplace_back(from, from + sends[r].bytes);
    }
    transfers_.emplace_back(receives, receives + size());
    mail_->arrived.notify_all();
  }

  void finish() override {
    std::unique_lock<std::mutex> lock(mail_->mutex);
    const std::vector<GroupMessage> receives = transfers_.front();
    transfers_.pop_front();
    for (std::uint32_t r = 0; r < size(); ++r) {
      if (r == rank_ || receives[r].bytes == 0) continue;
      std::deque<std::vector<char>>& box = mail_->letters[{r, rank_}];
      mail_->arrived.wait(lock, [&] { return !box.empty() || mail_->lost[r]; });
      if (box.empty()) throw TransportFailure("no answer", static_cast<std::int32_t>(r));
      CHECK(box.front().size() == receives[r].bytes);
      std::memcpy(receives[r].memory, box.front().data(), receives[r].bytes);
      box.pop_front();
    }
  }

  void abort() override {
    const std::lock_guard<std::mutex> lock(mail_->mutex);
    abort_locked();
  }

 private:
  void abort_locked() {
    mail_->lost[rank_] = true;
    mail_->arrived.notify_all();
  }

  std::shared_ptr<Mail> mail_;
  std::uint32_t rank_;
  std::uint64_t life_;
  std::deque<std::vector<GroupMessage>> transfers_;
};

constexpr std::uint64_t kForever = std::numeric_limits<std::uint64_t>::max();

GroupSettings group(double beta3, double power, bool norm_grad) {
  return {0.9, 0.999, beta3, 1e-8, 1e-2, power, 10.0, norm_grad, false};
}

struct Scenario {
  GroupSettings groups[2];
  std::optional<double> clip_norm;
  std::optional<double> clip_value = {};
  Rule rule = Rule::adam;
  std::optional<double> average_decay = {};
  std::uint32_t accumulate_steps = 1;
};

const Scenario kScenarios[] = {
    {{group(1, 2, false), group(0.5, 2, false)}, {}},
    {{group(1, 3, false), group(1, 2, true)}, 0.25},
    {{group(0, 2, false), group(0.5, 1, false)}, {}},
    {{group(0, 2, false), group(0, 2, false)}, 0.1},
    {{group(1, 2, false), group(0, 2, false)}, {}, {}, Rule::adam, {}, 3},
    {{group(0, 2, false), group(0.5, 2, true)}, 0.25, {}, Rule::momentum, {}, 2},
};

// Ends on both sides of a chunk, of a block, and of several blocks.
const std::vector<std::uint64_t> kSizes = {0, 1, 4095, 4097, 40001, 16384, 10, 16385, 130000, 0, 33};
// The one that comes and goes.
constexpr std::uint32_t kRemoved = 4;
constexpr std::uint64_t kAdded = 50001;
constexpr int kSteps = 7;

std::vector<std::uint64_t> sizes_in(int step) {
  std::vector<std::uint64_t> sizes = kSizes;
  if (step >= 5) sizes.erase(sizes.begin() + kRemoved);
  if (step >= 5) sizes.push_back(kAdded);
  return sizes;
}

using Arrays = std::vector<std::vector<float>>;

Arrays arrays(const std::vector<std::uint64_t>& sizes, unsigned seed, float scale) {
  Arrays all;
  for (const std::uint64_t size : sizes) all.push_back(random_floats(size, seed++, scale));
  return all;
}

Arrays gradients_of(std::uint32_t rank, int step) {
  static std::mutex mutex;
  static std::map<std::pair<std::uint32_t, int>, Arrays> made;
  const std::lock_guard<std::mutex> lock(mutex);
  Arrays& all = made[{rank, step}];
  if (!all.empty()) return all;
  all = arrays(sizes_in(step), 1000 * rank + 50 * static_cast<unsigned>(step), 1e-2f);
  if (step == 3) {
    // Two ranks have one each; the first element in order of registration is what counts.
    if (rank == 0)
      all[8][120000] = std::numeric_limits<float>::infinity();
    else
      all[7][16384] = std::numeric_limits<float>::quiet_NaN();
  }
  return all;
}

bool is_active(std::size_t tensor, int step) {
  return !(step == 2 && (tensor == 8 || tensor == 1));
}

std::vector<TensorBuffers> buffers_of(Arrays& p, const Arrays& g, int step) {
  std::vector<TensorBuffers> buffers;
  for (std::size_t i = 0; i < p.size(); ++i) {
    buffers.push_back({p[i].data(), p[i].data(), g[i].data(), is_active(i, step)});
  }
  return buffers;
}

struct Outcome {
  Arrays parameters;
  std::vector<test::State> states;
  std::vector<std::vector<double>> reports;
  std::string error;
};

// What all ranks have in common, with the gradients that `gradients` gives for a step.
template <typename Gradients>
Outcome train(Engine& engine, double scale, const Gradients& gradients) {
  Outcome outcome;
  for (std::size_t i = 0; i < kSizes.size(); ++i) engine.add_tensor(i % 2, kSizes[i]);
  outcome.parameters = arrays(kSizes, 7, 1.0f);
  try {
    for (int step = 0; step < kSteps; ++step) {
      if (step == 5) {
        engine.remove_tensor(kRemoved);
        engine.add_tensor(1, kAdded);
        outcome.parameters.erase(outcome.parameters.begin() + kRemoved);
        outcome.parameters.push_back(random_floats(kAdded, 99, 1.0f));
      }
      const Arrays g = gradients(step);
      StepScalars scalars[] = {{1e-3, scale, 1}, {2e-3, scale, 1}};
      const std::vector<TensorBuffers> buffers = buffers_of(outcome.parameters, g, step);
      outcome.reports.push_back(engine.step({buffers.data(), scalars}).values());
    }
    for (std::uint32_t i = 0; i < engine.tensors().size(); ++i) outcome.states.push_back(state_of(engine, i));
  } catch (const GroupError& error) {
    outcome.error = error.what();
  }
  return outcome;
}

EngineSettings settings_of(const Scenario& scenario) {
  EngineSettings settings;
  settings.groups = {scenario.groups[0], scenario.groups[1]};
  settings.clip_norm = scenario.clip_norm;
  settings.clip_value = scenario.clip_value;
  settings.rule = scenario.rule;
  settings.average_decay = scenario.average_decay;
  settings.accumulate_steps = scenario.accumulate_steps;
  return settings;
}

std::unique_ptr<Engine> cpu(const Scenario& scenario, unsigned threads) {
  return std::make_unique<CpuEngine>(settings_of(scenario), *available_kernels().front(), threads);
}

bool same_doubles(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// Runs `rank` on a thread for every rank. Rank `mortal` is lost after so many transfers.
template <typename F>
void run_group(std::uint32_t size, std::uint32_t mortal, std::uint64_t life, const F& rank) {
  const auto mail = std::make_shared<Mail>();
  mail->lost.resize(size);
  std::vector<std::thread> threads;
  for (std::uint32_t r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      auto transport = std::make_unique<ThreadTransport>(mail, r, r == mortal ? life : kForever);
      rank(std::make_shared<Ranks>(std::move(transport)), r);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

Arrays reduced(std::uint32_t size, int step) {
  Arrays sums = gradients_of(0, step);
  std::vector<std::vector<double>> totals;
  for (const std::vector<float>& one : sums) totals.emplace_back(one.begin(), one.end());
  for (std::uint32_t r = 1; r < size; ++r) {
    const Arrays g = gradients_of(r, step);
    for (std::size_t i = 0; i < g.size(); ++i) {
      for (std::size_t k = 0; k < g[i].size(); ++k) totals[i][k] += g[i][k];
    }
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    for (std::size_t k = 0; k < sums[i].size(); ++k) sums[i][k] = static_cast<float>(totals[i][k]);
  }
  return sums;
}

void gives_the_bytes_of_one(const Scenario& scenario, std::uint32_t size) {
  const auto whole = cpu(scenario, 1);
  const Outcome expected = train(*whole, 0.5 / size, [&](int step) { return reduced(size, step); });
  const bool is_due = 3 % scenario.accumulate_steps == 0;
  CHECK(expected.reports[2][kReportOutcome] == static_cast<double>(is_due ? kApplied : kAccumulated));
  CHECK(size == 1 || expected.reports[3][kReportRefusedTensor] == 7);
  run_group(size, 0, kForever, [&](const std::shared_ptr<Ranks>& ranks, std::uint32_t rank) {
    ShardedEngine engine(cpu(scenario, 1 + rank % 2), ranks);
    const Outcome outcome = train(engine, 0.5, [&](int step) { return gradients_of(rank, step); });
    CHECK(outcome.error.empty());
    for (int step = 0; step < kSteps; ++step) {
      CHECK(same_doubles(outcome.reports[step], expected.reports[step]));
    }
    for (std::size_t i = 0; i < expected.parameters.size(); ++i) {
      CHECK(same_bytes(outcome.parameters[i], expected.parameters[i]));
      CHECK(outcome.states[i] == expected.states[i]);
    }
    // What was read can be written, at any rank, and is the same state.
    engine.write_state(8, test::pointers(expected.states[6].arrays).data(), 3);
  });
}

void any_number_of_ranks_gives_the_bytes_of_one(const std::vector<std::uint32_t>& sizes) {
  for (const Scenario& scenario : kScenarios) {
    for (const std::uint32_t size : sizes) gives_the_bytes_of_one(scenario, size);
  }
}

void every_rule_gives_the_bytes_of_one(std::size_t stride) {
  for (std::size_t k = 0; k < kRuleCount; k += stride) {
    const bool norm_grad =
        kRules[k].array_count() == 0 || std::string_view(kRules[k].arrays[0]) != "velocity";
    Scenario scenario = {{group(1, 2, norm_grad), group(0, 2, false)}, 0.25};
    scenario.clip_value = 8e-3;
    scenario.rule = static_cast<Rule>(k);
    if (k % 2 == 0) scenario.average_decay = 0.9;
    gives_the_bytes_of_one(scenario, 3);
  }
}

void a_state_that_was_written_is_read_again() {
  const std::uint64_t size = 5 * kBlock + 77;
  const test::Arrays arrays = {random_floats(size, 1, 1.0f), random_floats(size, 2, 1.0f)};
  for (const std::uint32_t ranks_count : {1u, 3u, 4u}) {
    run_group(ranks_count, 0, kForever, [&](const std::shared_ptr<Ranks>& ranks, std::uint32_t) {
      ShardedEngine engine(cpu(kScenarios[0], 1), ranks);
      engine.add_tensor(0, 100);
      engine.add_tensor(1, size);
      engine.write_state(1, test::pointers(arrays).data(), 12);
      const test::State state = state_of(engine, 1);
      CHECK(state == (test::State{arrays, 12}));
    });
  }
}

// Whenever a rank is lost, the others have the parameters of before the step or of after it, never of both,
// and say who was lost.
void a_lost_rank_leaves_no_mixture(std::uint64_t stride) {
  const Scenario& scenario = kScenarios[1];
  constexpr std::uint32_t kRanks = 3;
  std::vector<Arrays> after;
  {
    const auto whole = cpu(scenario, 1);
    for (std::size_t i = 0; i < kSizes.size(); ++i) whole->add_tensor(i % 2, kSizes[i]);
    Arrays p = arrays(kSizes, 7, 1.0f);
    after.push_back(p);
    for (int step = 0; step < 3; ++step) {
      const Arrays g = reduced(kRanks, step);
      StepScalars scalars[] = {{1e-3, 1.0 / kRanks, 1}, {2e-3, 1.0 / kRanks, 1}};
      CHECK(whole->step({buffers_of(p, g, step).data(), scalars}).applied());
      after.push_back(p);
    }
  }
  std::atomic<bool> is_over{false};
  for (std::uint64_t life = 0; !is_over; life += stride) {
    run_group(kRanks, 1, life, [&](const std::shared_ptr<Ranks>& ranks, std::uint32_t rank) {
      ShardedEngine engine(cpu(scenario, 1), ranks);
      for (std::size_t i = 0; i < kSizes.size(); ++i) engine.add_tensor(i % 2, kSizes[i]);
      Arrays p = arrays(kSizes, 7, 1.0f);
      std::size_t done = 0;
      std::string error;
      try {
        for (; done < 3; ++done) {
          const int step = static_cast<int>(done);
          const Arrays g = gradients_of(rank, step);
          StepScalars scalars[] = {{1e-3, 1, 1}, {2e-3, 1, 1}};
          engine.step({buffers_of(p, g, step).data(), scalars});
        }
      } catch (const GroupError& failure) {
        error = failure.what();
      }
      for (std::size_t i = 0; i < p.size(); ++i) CHECK(same_bytes(p[i], after[done][i]));
      if (error.empty()) {
        if (rank == 1) is_over = true;
        return;
      }
      CHECK(error.starts_with("The group failed in step " + std::to_string(done + 1)));
      if (rank != 1) CHECK(error.find("is lost") != std::string::npos);
      // And so it stays.
      bool again = false;
      try {
        state_of(engine, 0);
      } catch (const GroupError& failure) {
        again = failure.what() == error;
      }
      CHECK(again);
    });
    CHECK(life < 1000);
  }
}

// Every rank is told who differs and in what; the group goes on.
void ranks_that_differ_are_told_where() {
  const auto attempt = [](const char* expected, auto&& differ, bool another_first = false) {
    run_group(3, 0, kForever, [&](const std::shared_ptr<Ranks>& ranks, std::uint32_t rank) {
      Scenario scenario = kScenarios[0];
      std::vector<std::uint64_t> sizes = {5, 20000};
      std::vector<bool> active = {true, true};
      double rate = 1e-3;
      if (rank == 2) differ(scenario, sizes, active, rate);
      std::optional<ShardedEngine> another;
      if (rank == 2 && another_first) another.emplace(cpu(scenario, 1), ranks);
      ShardedEngine engine(cpu(scenario, 1), ranks);
      Arrays p = arrays(sizes, 1, 1.0f);
      const Arrays before = p;
      const char* const names[] = {"kernel", "bias"};
      for (std::uint32_t i = 0; i < sizes.size(); ++i) {
        engine.name_tensor(engine.add_tensor(0, sizes[i]), names[i]);
      }
      for (int turn = 0; turn < 2; ++turn) {
        std::string error;
        try {
          StepScalars scalars[] = {{rate, 1, 1}, {rate, 1, 1}};
          std::vector<TensorBuffers> buffers;
          for (std::size_t i = 0; i < p.size(); ++i) {
            buffers.push_back({p[i].data(), p[i].data(), before[i].data(), active[i]});
          }
          engine.step({buffers.data(), scalars});
        } catch (const GroupError& failure) {
          error = failure.what();
        }
        if (error.find(expected) == std::string::npos) std::fprintf(stderr, "%s\n", error.c_str());
        CHECK(error.find(std::string("rank 2 has '") + expected) != std::string::npos);
        for (std::size_t i = 0; i < p.size(); ++i) CHECK(same_bytes(p[i], before[i]));
      }
    });
  };
  using Sizes = std::vector<std::uint64_t>;
  attempt(
      "optimizer 2 of the group", [](auto&&...) {}, true);
  attempt("no gradient of bias", [](Scenario&, Sizes&, std::vector<bool>& a, double&) { a[1] = false; });
  attempt("bias of 20001 elements", [](Scenario&, Sizes& s, std::vector<bool>&, double&) { s[1] = 20001; });
  attempt("1 tensors", [](Scenario&, Sizes& s, std::vector<bool>& a, double&) {
    s.pop_back();
    a.pop_back();
  });
  attempt("groups[1].beta2 0.875",
          [](Scenario& s, Sizes&, std::vector<bool>&, double&) { s.groups[1].beta2 = 0.875; });
  attempt("accumulateSteps 4",
          [](Scenario& s, Sizes&, std::vector<bool>&, double&) { s.accumulate_steps = 4; });
  attempt("the rule lion", [](Scenario& s, Sizes&, std::vector<bool>&, double&) { s.rule = Rule::lion; });
  attempt("groups[0].learningRate 0.002",
          [](Scenario&, Sizes&, std::vector<bool>&, double& rate) { rate = 2e-3; });
}

// Where a rank has let go of what waits, all are told; when they all have, they go on.
void a_rank_that_forgot_is_told() {
  Scenario scenario = kScenarios[0];
  scenario.accumulate_steps = 2;
  run_group(2, 0, kForever, [&](const std::shared_ptr<Ranks>& ranks, std::uint32_t rank) {
    ShardedEngine engine(cpu(scenario, 1), ranks);
    engine.add_tensor(0, 20000);
    Arrays p = arrays({20000}, 1, 1.0f);
    const Arrays g = arrays({20000}, 2, 1.0f);
    const auto call = [&] {
      const TensorBuffers buffers = {p[0].data(), p[0].data(), g[0].data(), true};
      StepScalars scalars[] = {{1e-3, 1, 1}, {1e-3, 1, 1}};
      return engine.step({&buffers, scalars})[kReportOutcome];
    };
    CHECK(call() == static_cast<double>(kAccumulated));
    if (rank == 1) engine.forget_accumulated();
    std::string error;
    try {
      call();
    } catch (const GroupError& failure) {
      error = failure.what();
    }
    CHECK(error.find("rank 1 has '0 calls since the last step' where rank 0 has '1 calls") !=
          std::string::npos);
    engine.forget_accumulated();
    CHECK(call() == static_cast<double>(kAccumulated));
    CHECK(call() == static_cast<double>(kApplied));
  });
}

}  // namespace
}  // namespace vradam

// Sanitizers and valgrind run slowly: any argument leaves out most of the numbers.
int main(int argc, char**) {
  const bool brief = argc > 1;
  vradam::any_number_of_ranks_gives_the_bytes_of_one(brief ? std::vector<std::uint32_t>{3}
                                                           : std::vector<std::uint32_t>{1, 2, 3, 4, 7});
  vradam::every_rule_gives_the_bytes_of_one(brief ? 7 : 1);
  vradam::a_state_that_was_written_is_read_again();
  vradam::a_lost_rank_leaves_no_mixture(brief ? 7 : 1);
  vradam::ranks_that_differ_are_told_where();
  vradam::a_rank_that_forgot_is_told();
  std::puts("engine_group: passed");
  return 0;
}
