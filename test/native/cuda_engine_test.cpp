// The CUDA plugin against the CPU engine, byte for byte: its emulation on any machine, the plugin itself on
// one with a GPU. Usage: cuda_engine_test PLUGIN [brief | others | many | ELEMENTS]
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../../native/cpu/dispatch.h"
#include "../../native/cpu/engine.h"
#include "../../native/cuda/abi.h"
#include "check.h"

namespace vradam {
namespace {

int failures = 0;
const CudaApi* api = nullptr;
std::uint64_t part_chunks = 0;  // that travel as one, as the runtime says
bool interpreted = false;       // slowly: some tests do less
std::string test_name;

void fail(const std::string& what) {
  std::printf("FAILED %s: %s\n", test_name.c_str(), what.c_str());
  ++failures;
}

void check(bool holds, const std::string& what) {
  if (!holds) fail(what);
}

void must(CudaStatus status, const CudaFailure& failure) {
  if (status == CudaStatus::kOk) return;
  std::printf("FAILED %s: %s\n", test_name.c_str(), failure.sentence);
  std::exit(1);
}

// Device memory that begins `shift` floats after an aligned address.
class DeviceFloats {
 public:
  DeviceFloats(std::uint64_t size, std::uint64_t shift) : size_(size) {
    CudaFailure failure;
    must(api->allocate((size + shift) * sizeof(float), &base_, &failure), failure);
    data_ = static_cast<float*>(base_) + shift;
  }
  ~DeviceFloats() { api->release(base_); }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;

  float* data() const { return data_; }
  void write(const std::vector<float>& values) const {
    CudaFailure failure;
    must(api->write(data_, values.data(), size_ * sizeof(float), &failure), failure);
  }
  std::vector<float> read() const {
    std::vector<float> values(size_);
    CudaFailure failure;
    must(api->read(data_, values.data(), size_ * sizeof(float), &failure), failure);
    return values;
  }

 private:
  std::uint64_t size_;
  void* base_ = nullptr;
  float* data_ = nullptr;
};

struct Scenario {
  Rule rule = Rule::adam;
  std::vector<GroupSettings> groups;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> tensors;  // group, size
  double clip_norm = std::numeric_limits<double>::quiet_NaN();
  double clip_value = std::numeric_limits<double>::quiet_NaN();
  double average_decay = std::numeric_limits<double>::quiet_NaN();
  std::uint32_t accumulate_steps = 1;
  bool checks = true;
  CudaLaunches launches = CudaLaunches::kAuto;
  double gradient_scale = 1.0;
  bool elsewhere = false;  // p_out is not p_in
  bool unaligned = false;
  double missing = 0.0;  // share of gradients
  int steps = 3;
};

GroupSettings group(double beta3 = 1.0) {
  return {0.9, 0.999, beta3, 1e-8, 1e-5, 2.0, 10.0, false, false};
}

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

bool same_number(double a, double b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

std::vector<float> values(std::mt19937_64& random, std::uint64_t size) {
  std::vector<float> all(size);
  for (float& x : all) {
    const auto bits = static_cast<std::uint32_t>(random());
    const float value = static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f;
    const unsigned kind = random() % 20;
    x = kind == 0   ? 0.0f
        : kind == 1 ? value * 1e-39f
        : kind == 2 ? value * 1e-20f
        : kind == 3 ? value * 1e9f
                    : value;
  }
  return all;
}

// The two engines of a scenario, without tensors.
std::unique_ptr<CpuEngine> make_cpu(const Scenario& scenario) {
  EngineSettings settings;
  settings.rule = scenario.rule;
  settings.groups = scenario.groups;
  if (!std::isnan(scenario.clip_norm)) settings.clip_norm = scenario.clip_norm;
  if (!std::isnan(scenario.clip_value)) settings.clip_value = scenario.clip_value;
  if (!std::isnan(scenario.average_decay)) settings.average_decay = scenario.average_decay;
  settings.accumulate_steps = scenario.accumulate_steps;
  settings.check_gradients = scenario.checks;
  return std::make_unique<CpuEngine>(settings, *find_kernels(""), 1);
}

CudaEngine* make_cuda(const Scenario& scenario, bool halts) {
  const CudaSettings settings = {scenario.groups.data(),
                                 static_cast<std::uint32_t>(scenario.groups.size()),
                                 scenario.rule,
                                 scenario.clip_norm,
                                 scenario.clip_value,
                                 scenario.average_decay,
                                 scenario.accumulate_steps,
                                 scenario.checks,
                                 halts,
                                 scenario.launches};
  CudaEngine* engine = nullptr;
  CudaFailure failure;
  must(api->create(&settings, &engine, &failure), failure);
  return engine;
}

// The state of a tensor is the same in both engines.
void check_state(CudaEngine* engine, CpuEngine& cpu, std::size_t index, std::uint64_t size) {
  const auto tensor = static_cast<std::uint32_t>(index);
  const test::State expected = test::state_of(cpu, tensor);
  test::State state{test::Arrays(expected.arrays.size(), std::vector<float>(size)), 0};
  std::vector<float*> arrays;
  for (std::vector<float>& array : state.arrays) arrays.push_back(array.data());
  CudaFailure failure;
  must(api->read_state(engine, tensor, arrays.data(), &state.steps, &failure), failure);
  check(state == expected, "state of tensor " + std::to_string(index));
}

class Pair {
 public:
  Pair(const Scenario& scenario, unsigned seed) : scenario_(scenario), random_(seed) {
    cpu_ = make_cpu(scenario);
    engine_ = make_cuda(scenario, false);
    for (const auto& [of, size] : scenario.tensors) register_tensor(of, size);
  }
  ~Pair() { api->destroy(engine_); }

  CudaEngine* engine() const { return engine_; }
  CpuEngine& cpu() const { return *cpu_; }

  // One tensor more than the scenario has.
  void add_tensor(std::uint64_t size) {
    scenario_.tensors.push_back({0, size});
    register_tensor(0, size);
  }
  void leave_out(double share) { scenario_.missing = share; }

  // Makes gradients; `poison` may change them before they are used.
  template <typename Poison>
  void step(const Poison& poison) {
    std::uniform_real_distribution<double> share(0.0, 1.0);
    const std::size_t count = in_.size();
    std::vector<TensorBuffers> buffers(count);
    std::vector<TensorBuffers> tensors(count);
    for (std::size_t i = 0; i < count; ++i) g_[i] = values(scenario_.tensors[i].second);
    poison(g_);
    for (std::size_t i = 0; i < count; ++i) {
      const bool active = share(random_) >= scenario_.missing;
      float* const to = scenario_.elsewhere ? out_[i].data() : in_[i].data();
      buffers[i] = {in_[i].data(), to, g_[i].data(), active};
      device_g_[i]->write(g_[i]);
      tensors[i] = {device_in_[i]->data(), (scenario_.elsewhere ? device_out_ : device_in_)[i]->data(),
                    device_g_[i]->data(), active};
    }
    std::vector<StepScalars> rates;
    for (const GroupSettings& of : scenario_.groups) {
      rates.push_back({0.01 * (1 + static_cast<double>(random_() % 3)), scenario_.gradient_scale,
                       of.maximize ? -1.0 : 1.0});
    }
    const StepResult expected = cpu_->step({buffers.data(), rates.data()});
    CudaFailure failure;
    std::vector<double> report(kReportFieldCount + 2 * scenario_.groups.size());
    if (scenario_.accumulate_steps == 1) {
      std::uint64_t number = 0;
      must(api->enqueue(engine_, tensors.data(), rates.data(), &number, &failure), failure);
      check(number == steps_++, "steps are numbered from 0");
      must(api->reports(engine_, number, 1, report.data(), &failure), failure);
    } else {
      must(api->step_on_device(engine_, tensors.data(), rates.data(), report.data(), &failure), failure);
    }
    compare(expected, report);
  }
  void step() {
    step([](std::vector<std::vector<float>>&) {});
  }

  void compare(const StepResult& expected, const std::vector<double>& report) {
    check(report[kReportOutcome] == expected[kReportOutcome], "outcome");
    check(same_number(report[kReportGradientNorm], expected[kReportGradientNorm]), "gradient norm");
    check(same_number(report[kReportClipCoefficient], expected[kReportClipCoefficient]), "clip coefficient");
    check(report[kReportRefusedTensor] == expected[kReportRefusedTensor], "refused tensor");
    check(report[kReportRefusedElement] == expected[kReportRefusedElement], "refused element");
    check(same_number(report[kReportRefusedValue], expected[kReportRefusedValue]), "refused value");
    for (std::size_t k = 0; k < scenario_.groups.size(); ++k) {
      const double* const of = report.data() + kReportFieldCount + 2 * k;
      check(same_number(of[0], expected.penalty(k)), "penalty of group " + std::to_string(k));
      check(same_number(of[1], expected.effective_learning_rate(k)), "rate of group " + std::to_string(k));
    }
    for (std::size_t i = 0; i < in_.size(); ++i) {
      const std::string tensor = " of tensor " + std::to_string(i);
      check(same_bytes(device_in_[i]->read(), in_[i]), "parameters" + tensor);
      check(same_bytes(device_out_[i]->read(), out_[i]), "new parameters" + tensor);
      check_state(engine_, *cpu_, i, scenario_.tensors[i].second);
    }
  }

  void run() {
    for (int i = 0; i < scenario_.steps; ++i) step();
  }

  void forget_accumulated() {
    cpu_->forget_accumulated();
    CudaFailure failure;
    must(api->forget_accumulated(engine_, &failure), failure);
  }

  std::vector<float> values(std::uint64_t size) { return vradam::values(random_, size); }

 private:
  void register_tensor(std::uint32_t of, std::uint64_t size) {
    CudaFailure failure;
    cpu_->add_tensor(of, size);
    must(api->add_tensor(engine_, of, size, &failure), failure);
    const std::size_t i = in_.size();
    in_.push_back(values(size));
    out_.push_back(in_.back());
    g_.emplace_back(size);
    const auto shift = [&](std::size_t k) { return scenario_.unaligned ? (i + k) % 4 : 0; };
    device_in_.push_back(std::make_unique<DeviceFloats>(size, shift(1)));
    device_out_.push_back(std::make_unique<DeviceFloats>(size, shift(2)));
    device_g_.push_back(std::make_unique<DeviceFloats>(size, shift(3)));
    device_in_.back()->write(in_.back());
    device_out_.back()->write(in_.back());
  }

  Scenario scenario_;
  std::mt19937_64 random_;
  std::unique_ptr<CpuEngine> cpu_;
  CudaEngine* engine_ = nullptr;
  std::uint64_t steps_ = 0;
  std::vector<std::vector<float>> in_;
  std::vector<std::vector<float>> out_;
  std::vector<std::vector<float>> g_;
  std::vector<std::unique_ptr<DeviceFloats>> device_in_;
  std::vector<std::unique_ptr<DeviceFloats>> device_out_;
  std::vector<std::unique_ptr<DeviceFloats>> device_g_;
};

Scenario of_sizes(std::vector<std::uint64_t> sizes) {
  Scenario scenario;
  scenario.groups = {group()};
  for (const std::uint64_t size : sizes) scenario.tensors.push_back({0, size});
  return scenario;
}

void run(const std::string& name, Scenario scenario) {
  for (const CudaLaunches launches : {CudaLaunches::kOne, CudaLaunches::kPasses}) {
    test_name = name + (launches == CudaLaunches::kOne ? ", one launch" : ", a launch a pass");
    scenario.launches = launches;
    Pair(scenario, 1).run();
  }
}

void test_sizes() {
  for (const std::uint64_t size : {0, 1, 2, 3, 4, 5, 63, 64, 65, 255, 4095, 4096, 4097, 8191, 20481}) {
    run("one tensor of " + std::to_string(size) + " elements", of_sizes({size}));
  }
  run("tensors of many sizes", of_sizes({7, 0, 4096, 1, 8193, 64, 30000, 3}));
  Scenario unaligned = of_sizes({7, 0, 4096, 1, 8193, 64, 4099});
  unaligned.unaligned = true;
  run("addresses that are multiples of four bytes only", unaligned);
}

void test_rules() {
  const std::vector<std::uint64_t> sizes = {70, 4100, 0, 9000, 5};
  for (const double power : {1.0, 2.0, 3.0, 4.0}) {
    for (const bool norm_grad : {false, true}) {
      Scenario scenario = of_sizes(sizes);
      scenario.groups[0].power = power;
      scenario.groups[0].norm_grad = norm_grad;
      scenario.groups[0].beta3 = 1e-30;
      run("power " + std::to_string(power) + (norm_grad ? " of the gradient" : " of the velocity"), scenario);
    }
  }
  for (const double clip_norm : {1e-3, 1e30, std::numeric_limits<double>::quiet_NaN()}) {
    for (const bool checks : {true, false}) {
      for (const double beta3 : {0.0, 1e-20}) {
        Scenario scenario = of_sizes(sizes);
        scenario.groups[0].beta3 = beta3;
        scenario.clip_norm = clip_norm;
        scenario.checks = checks;
        scenario.gradient_scale = 0.3;
        scenario.missing = 0.3;
        run("clip norm " + std::to_string(clip_norm) + ", beta3 " + std::to_string(beta3) +
                (checks ? ", checked" : ", unchecked"),
            scenario);
      }
    }
  }
  Scenario groups = of_sizes(sizes);
  groups.groups = {group(), group(0.0), group(1e-20), group(30)};
  groups.groups[2].norm_grad = true;
  groups.groups[2].maximize = true;
  groups.groups[3].lr_cutoff = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < groups.tensors.size(); ++i) groups.tensors[i].first = (3 * i + 1) % 3;
  groups.missing = 0.2;
  groups.steps = 6;
  run("groups of every kind, one of them empty", groups);
  groups.clip_norm = 5.0;
  groups.elsewhere = true;
  run("groups of every kind, clipped, parameters written elsewhere", groups);
}

// A penalty of the velocity, or of the gradient where a rule has no velocity.
GroupSettings group_of(Rule rule, double beta3) {
  GroupSettings settings = group(beta3);
  const char* const first = entry_of(rule).arrays[0];
  settings.norm_grad = first == nullptr || std::strcmp(first, "velocity") != 0;
  return settings;
}

void test_other_rules() {
  for (const RuleEntry& entry : kRules) {
    const auto rule = static_cast<Rule>(&entry - kRules);
    Scenario scenario = of_sizes({70, 4100, 0, 5});
    scenario.rule = rule;
    scenario.groups = {group_of(rule, 1e-20), group_of(rule, 0.0), group_of(rule, 1e-3)};
    scenario.groups[2].norm_grad = true;
    scenario.groups[2].maximize = true;
    for (std::size_t i = 0; i < scenario.tensors.size(); ++i) scenario.tensors[i].first = i % 3;
    scenario.missing = 0.2;
    scenario.steps = 2;
    run(std::string("the rule ") + entry.name, scenario);
    scenario.clip_value = 0.3;
    scenario.average_decay = 0.9;
    scenario.elsewhere = true;
    for (GroupSettings& settings : scenario.groups) settings.power = 1 + (&entry - kRules) % 4;
    run(std::string("cut gradients and averages, the rule ") + entry.name, scenario);
    scenario.unaligned = true;
    scenario.clip_norm = 1.0;
    run(std::string("clipped and unaligned, the rule ") + entry.name, scenario);
  }
}

// Calls whose gradients wait for those of others: some bad, some forgotten, tensors that come between them.
void test_accumulation(Rule rule) {
  const auto bad = [](std::vector<std::vector<float>>& g) { g[1][4099] = std::nanf(""); };
  for (const bool clips : {false, true}) {
    Scenario scenario = of_sizes({70, 4100, 0, 9000, 5});
    scenario.rule = rule;
    scenario.groups = {group_of(rule, 1e-20), group_of(rule, 0.0), group_of(rule, 1e-3)};
    scenario.groups[2].maximize = true;
    for (std::size_t i = 0; i < scenario.tensors.size(); ++i) scenario.tensors[i].first = i % 3;
    scenario.accumulate_steps = 3;
    scenario.gradient_scale = 0.5;
    if (clips) scenario.clip_norm = 1.0;
    scenario.unaligned = scenario.elsewhere = clips;
    scenario.steps = 6;
    run("accumulated gradients", scenario);
    scenario.missing = 0.3;
    scenario.average_decay = 0.9;
    run("accumulated gradients of some tensors", scenario);
    scenario.checks = false;
    run("accumulated gradients, unchecked", scenario);
    if (clips) Pair(scenario, 1).step(bad);
    scenario.checks = true;
    scenario.missing = 0.0;
    test_name = "calls that are left out";
    Pair pair(scenario, 1);
    pair.step(bad);
    for (int i = 0; i < 2; ++i) pair.step();
    pair.step(bad);
    for (int i = 0; i < 2; ++i) pair.step();
    pair.forget_accumulated();
    pair.add_tensor(4097);
    for (int i = 0; i < 4; ++i) pair.step();
    scenario.groups.assign(3, group(0.0));
    test_name = "calls that are left out, without a penalty";
    Pair plain(scenario, 1);
    plain.step(bad);
    plain.step();
  }
}

void test_many() {
  Scenario tensors = of_sizes({});
  for (std::size_t i = 0; i < 5000; ++i) tensors.tensors.push_back({0, i % 7 == 0 ? 0 : 1 + i % 3});
  if (!interpreted) tensors.clip_norm = 1.0;
  tensors.missing = 0.01;
  tensors.steps = interpreted ? 1 : 2;
  tensors.launches = CudaLaunches::kAuto;
  test_name = "5000 tensors: more sums than one level of the reduction takes";
  Pair(tensors, 1).run();

  Scenario groups = of_sizes({});
  groups.groups.clear();
  for (std::uint32_t k = 0; k < 40; ++k) {
    groups.groups.push_back(group(k % 2));
    groups.tensors.push_back({k, 10 + k});
  }
  test_name = "40 groups";
  Pair(groups, 1).run();
  test_name = "40 groups, accumulated gradients";
  groups.accumulate_steps = 2;
  groups.clip_norm = 1.0;
  Pair pair(groups, 1);
  for (int call = 0; call < 5; ++call) {
    pair.step([&](std::vector<std::vector<float>>& g) { g[38][7] = call == 1 ? std::nanf("") : 1.0f; });
  }
}

void test_refusal() {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const double clip_norm : {1.0, std::numeric_limits<double>::quiet_NaN()}) {
    for (const double beta3 : {0.0, 1.0}) {
      for (const float bad : {infinity, -infinity, std::nanf(""), 3e38f}) {
        for (const CudaLaunches launches : {CudaLaunches::kOne, CudaLaunches::kPasses}) {
          Scenario scenario = of_sizes({100, 30000, 4097, 9});
          scenario.groups.push_back(group(beta3));
          scenario.tensors[2].first = 1;
          scenario.clip_norm = clip_norm;
          scenario.launches = launches;
          test_name = "a gradient of " + std::to_string(bad) + " with clip norm " + std::to_string(clip_norm);
          Pair pair(scenario, 7);
          pair.step();
          pair.step([&](std::vector<std::vector<float>>& g) {
            g[1][29999] = bad;
            g[1][8200] = bad;
            g[2][4096] = bad;
          });
          pair.step();
          pair.step([&](std::vector<std::vector<float>>& g) { g[3][8] = bad; });
          pair.step();
        }
      }
    }
  }
}

void test_repeated_launches() {
  for (const double clip_norm : {1.0, std::numeric_limits<double>::quiet_NaN()}) {
    test_name = "launches that come again, clip norm " + std::to_string(clip_norm);
    Scenario scenario = of_sizes({4097, 30000, 9});
    scenario.groups.push_back(group(0.0));
    scenario.tensors[2].first = 1;
    scenario.clip_norm = clip_norm;
    scenario.launches = CudaLaunches::kPasses;
    Pair pair(scenario, 3);
    for (int i = 0; i < 2; ++i) pair.step();
    pair.step([](std::vector<std::vector<float>>& g) { g[1][12345] = std::nanf(""); });
    pair.step();
    pair.leave_out(1.0);
    for (int i = 0; i < 2; ++i) pair.step();
    pair.leave_out(0.0);
    pair.step();
    pair.add_tensor(5000);
    for (int i = 0; i < 2; ++i) pair.step();
  }
}

// Steps that nobody waits for, each with rates and memory of its own, more of them than there are pieces for
// what changes: each gets its own. What the caller handed over is gone by the time that the device reads it.
void test_queue(std::uint32_t groups) {
  test_name = "a queue of steps whose rates change, " + std::to_string(groups) + " groups";
  constexpr std::size_t kSteps = 40;
  constexpr std::uint64_t kSize = 70;
  Scenario scenario;
  scenario.groups.assign(groups, group());
  for (std::uint32_t k = 0; k < groups; ++k) scenario.tensors.push_back({k, kSize});
  const std::unique_ptr<CpuEngine> cpu = make_cpu(scenario);
  CudaEngine* const engine = make_cuda(scenario, false);
  std::mt19937_64 random(11);
  std::vector<std::vector<float>> p;
  std::vector<std::unique_ptr<DeviceFloats>> device_p;
  std::vector<std::unique_ptr<DeviceFloats>> device_g;
  CudaFailure failure;
  for (std::uint32_t k = 0; k < groups; ++k) {
    cpu->add_tensor(k, kSize);
    must(api->add_tensor(engine, k, kSize, &failure), failure);
    p.push_back(values(random, kSize));
    device_p.push_back(std::make_unique<DeviceFloats>(kSize, 0));
    device_p.back()->write(p.back());
  }
  std::vector<StepResult> expected;
  for (std::size_t step = 0; step < kSteps; ++step) {
    std::vector<std::vector<float>> g;
    std::vector<TensorBuffers> buffers;
    std::vector<TensorBuffers> tensors;
    std::vector<StepScalars> rates;
    for (std::uint32_t k = 0; k < groups; ++k) {
      g.push_back(values(random, kSize));
      device_g.push_back(std::make_unique<DeviceFloats>(kSize, 0));
      device_g.back()->write(g.back());
      tensors.push_back({device_p[k]->data(), device_p[k]->data(), device_g.back()->data(), 1});
      rates.push_back({1e-3 * static_cast<double>(step + k + 1), 1.0, 1.0});
    }
    for (std::uint32_t k = 0; k < groups; ++k)
      buffers.push_back({p[k].data(), p[k].data(), g[k].data(), true});
    expected.push_back(cpu->step({buffers.data(), rates.data()}));
    std::uint64_t number = 0;
    must(api->enqueue(engine, tensors.data(), rates.data(), &number, &failure), failure);
    std::fill(tensors.begin(), tensors.end(), TensorBuffers{});
    std::fill(rates.begin(), rates.end(), StepScalars{});
  }
  const std::size_t width = kReportFieldCount + 2 * groups;
  std::vector<double> reports(kSteps * width);
  must(api->reports(engine, 0, kSteps, reports.data(), &failure), failure);
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (std::uint32_t k = 0; k < groups; ++k) {
      check(same_number(reports[step * width + kReportFieldCount + 2 * k + 1],
                        expected[step].effective_learning_rate(k)),
            "rate of step " + std::to_string(step));
    }
  }
  for (std::uint32_t k = 0; k < groups; ++k) check(same_bytes(device_p[k]->read(), p[k]), "parameters");
  api->destroy(engine);
}

// From one launch to a launch a pass, the device's count of steps goes on.
void test_growth(std::uint64_t chunks) {
  test_name = "a model that grows out of one launch";
  Pair pair(of_sizes({chunks * kChunk, 7}), 4);
  pair.step();
  pair.step();
  pair.add_tensor(chunks * kChunk + 1);
  for (int i = 0; i < 3; ++i) pair.step();
}

void test_other_powers() {
  test_name = "power 2.5";
  Scenario scenario = of_sizes({9000});
  scenario.groups[0].power = 2.5;
  Pair pair(scenario, 3);
  const std::vector<float> g = pair.values(9000);
  std::vector<float> p(9000);
  DeviceFloats device_p(9000, 0);
  DeviceFloats device_g(9000, 0);
  device_g.write(g);
  const TensorBuffers buffers = {p.data(), p.data(), g.data(), true};
  const StepScalars rates = {1e-3, 1.0, 1.0};
  const StepResult expected = pair.cpu().step({&buffers, &rates});
  const TensorBuffers tensor = {device_p.data(), device_p.data(), device_g.data(), 1};
  CudaFailure failure;
  std::uint64_t number = 0;
  must(api->enqueue(pair.engine(), &tensor, &rates, &number, &failure), failure);
  double report[kReportFieldCount + 2];
  must(api->reports(pair.engine(), number, 1, report, &failure), failure);
  const double apart = std::fabs(report[kReportFieldCount] / expected.penalty(0) - 1);
  check(apart <= 1e-12, "the penalty agrees to 1e-12, not " + std::to_string(apart));
}

// Steps on the host's memory, and the CPU engine beside them.
class HostPair {
 public:
  HostPair(const Scenario& scenario, bool halts) : scenario_(scenario), random_(9) {
    cpu_ = make_cpu(scenario);
    engine_ = make_cuda(scenario, halts);
    CudaFailure failure;
    for (const auto& [of, size] : scenario.tensors) {
      cpu_->add_tensor(of, size);
      must(api->add_tensor(engine_, of, size, &failure), failure);
      expected_.push_back(values(random_, size));
    }
    p_ = expected_;
    for (std::size_t k = 0; k < scenario.groups.size(); ++k) rates_.push_back({0.01, 0.5, 1.0});
    report_.resize(kReportFieldCount + 2 * scenario.groups.size());
  }
  ~HostPair() { api->destroy(engine_); }

  // The gradients of the next step, of those tensors that `active` says of their index.
  template <typename Active>
  std::vector<std::vector<float>>& offer(const Active& active) {
    const std::size_t count = p_.size();
    g_.resize(count);
    next_ = p_;
    buffers_.resize(count);
    tensors_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      g_[i] = values(random_, p_[i].size());
      buffers_[i] = {expected_[i].data(), expected_[i].data(), g_[i].data(), active(i)};
      tensors_[i] = {p_[i].data(), (scenario_.elsewhere ? next_ : p_)[i].data(), g_[i].data(), active(i)};
    }
    return g_;
  }

  // The step that was offered, on the device alone.
  CudaStatus attempt(CudaFailure* failure) {
    return api->step_on_host(engine_, tensors_.data(), rates_.data(), report_.data(), failure);
  }

  // The step that was offered. Whether it was applied.
  bool step() {
    const StepResult result = cpu_->step({buffers_.data(), rates_.data()});
    CudaFailure failure;
    must(attempt(&failure), failure);
    if (scenario_.elsewhere) p_ = next_;
    check(report_[kReportOutcome] == result[kReportOutcome], "outcome");
    check(report_[kReportCopiedBytes] == copied_bytes(result.applied()), "copied bytes");
    check(report_[kReportRefusedElement] == result[kReportRefusedElement], "refused element");
    for (std::size_t k = 0; k < scenario_.groups.size(); ++k) {
      check(same_number(report_[kReportFieldCount + 2 * k], result.penalty(k)), "penalty");
    }
    compare();
    return result.applied();
  }

  void compare() const {
    for (std::size_t i = 0; i < p_.size(); ++i) {
      check(same_bytes(p_[i], expected_[i]), "parameters of tensor " + std::to_string(i));
      check_state(engine_, *cpu_, i, p_[i].size());
    }
  }

 private:
  // Gradients and parameters travel to the device, and parameters back; of a refused step, parameters of the
  // first part and nothing back; of a call that waits for others, gradients.
  double copied_bytes(bool applied) const {
    std::uint64_t elements = 0;
    std::uint64_t of_first_part = 0;
    std::uint64_t left = part_chunks * kChunk;
    for (std::size_t i = 0; i < p_.size(); ++i) {
      const std::uint64_t size = p_[i].size();
      if (buffers_[i].active) elements += size;
      if (buffers_[i].active) of_first_part += std::min(size, left);
      left -= std::min(left, (size + kChunk - 1) / kChunk * kChunk);
    }
    if (applied) return 12.0 * static_cast<double>(elements);
    if (scenario_.accumulate_steps != 1) of_first_part = 0;
    return 4.0 * static_cast<double>(elements + of_first_part);
  }

  Scenario scenario_;
  std::mt19937_64 random_;
  std::unique_ptr<CpuEngine> cpu_;
  CudaEngine* engine_ = nullptr;
  std::vector<std::vector<float>> expected_;
  std::vector<std::vector<float>> p_;
  std::vector<std::vector<float>> next_;
  std::vector<std::vector<float>> g_;
  std::vector<TensorBuffers> buffers_;
  std::vector<TensorBuffers> tensors_;
  std::vector<StepScalars> rates_;
  std::vector<double> report_;
};

// Steps that travel in several parts, `bad` now and then among the gradients.
void run_on_host(const std::string& name, const Scenario& scenario, float bad, bool halts) {
  test_name = name + ", on the host's memory" + (halts ? "" : ", not halting");
  HostPair pair(scenario, halts);
  const std::size_t count = scenario.tensors.size();
  for (std::size_t step = 0; step < static_cast<std::size_t>(scenario.steps); ++step) {
    std::vector<std::vector<float>>& g =
        pair.offer([&](std::size_t i) { return step == 0 || (step + i) % 5 != 0; });
    if (step % 2 == 1) g[step % count].back() = bad;
    check(pair.step() || step % 2 == 1, "only a bad gradient refuses a step");
  }
}

void test_host() {
  const std::uint64_t part = part_chunks * kChunk;
  for (const CudaLaunches launches : {CudaLaunches::kAuto, CudaLaunches::kPasses}) {
    Scenario scenario = of_sizes({part / 2, 3, 2 * part + 1, part, 77});
    scenario.launches = launches;
    scenario.steps = 4;
    const float nan = std::nanf("");
    run_on_host("a penalty", scenario, nan, true);
    run_on_host("a penalty", scenario, nan, false);
    scenario.elsewhere = true;
    scenario.clip_norm = 1.0;
    run_on_host("clipping", scenario, 3e38f, true);
    scenario.groups = {group(), group(0.0), group(1e-3)};
    for (std::size_t i = 0; i < scenario.tensors.size(); ++i) scenario.tensors[i].first = i % 3;
    run_on_host("groups, clipped", scenario, nan, false);
    scenario.clip_norm = std::numeric_limits<double>::quiet_NaN();
    run_on_host("groups", scenario, nan, true);
    scenario.groups = {group(0.0), group(0.0), group(0.0)};
    run_on_host("no penalty", scenario, nan, true);
    scenario.checks = false;
    run_on_host("no penalty and no check", scenario, 1.0f, true);
  }
}

void test_accumulation_on_host() {
  test_name = "accumulated gradients, on the host's memory";
  Scenario scenario = of_sizes({2 * part_chunks * kChunk + 1, 77});
  scenario.accumulate_steps = 2;
  for (const bool elsewhere : {false, true}) {
    scenario.elsewhere = elsewhere;
    HostPair pair(scenario, elsewhere);
    for (int call = 0; call < 7; ++call) {
      std::vector<std::vector<float>>& g = pair.offer([&](std::size_t i) { return i == 0 || call != 2; });
      if (call == 3) g[1][76] = std::nanf("");
      check(pair.step() == (call == 1 || call == 4 || call == 6), "the step is made at its second good call");
    }
  }
}

// Has the emulation fail while it is there.
class Emulated {
 public:
  Emulated(const char* variable, const char* value) : variable_(variable) { setenv(variable, value, 1); }
  ~Emulated() { unsetenv(variable_); }
  Emulated(const Emulated&) = delete;
  Emulated& operator=(const Emulated&) = delete;

 private:
  const char* variable_;
};

// A step that lacks memory for anything changes nothing, says so, and can be made when there is some.
void refuse_for_memory(HostPair& pair, const char* variable, const char* value) {
  CudaFailure failure{};
  {
    const Emulated lacking(variable, value);
    check(pair.attempt(&failure) == CudaStatus::kOutOfMemory, "out of memory");
  }
  check(std::strstr(failure.sentence, "nothing has changed") != nullptr, failure.sentence);
  pair.compare();
  check(pair.step(), "the step is made when there is memory");
}

// Before anything else: there is one such memory for the process.
void test_no_pinned_memory() {
  test_name = "no memory for copies to go through";
  const Scenario scenario = of_sizes({5});
  const CudaSettings settings = {
      scenario.groups.data(), 1, Rule::adam, scenario.clip_norm, std::nan(""), std::nan(""), 1, 1, 0,
      CudaLaunches::kAuto};
  CudaEngine* engine = nullptr;
  CudaFailure failure{};
  const Emulated lacking("VRADAM_CUDA_EMULATED_FAULT", "pinned");
  check(api->create(&settings, &engine, &failure) == CudaStatus::kOutOfMemory, "out of memory");
  check(std::strstr(failure.sentence, "nothing has changed") != nullptr, failure.sentence);
}

// Memory of the device is taken for tensors that have a gradient, when they first have one.
void test_no_memory() {
  test_name = "no memory for tensors without a gradient";
  HostPair pair(of_sizes({5000, 300}), true);
  for (int step = 0; step < 3; ++step) {
    pair.offer([&](std::size_t i) { return step != 0 && i == 1; });
    if (step == 1) {
      refuse_for_memory(pair, "VRADAM_CUDA_EMULATED_MEMORY", "1");
    } else {
      const Emulated full("VRADAM_CUDA_EMULATED_MEMORY", "1");
      check(pair.step(), "what has memory needs none");
    }
  }
  pair.offer([](std::size_t) { return true; });
  refuse_for_memory(pair, "VRADAM_CUDA_EMULATED_MEMORY", "1");
}

// Whatever command the device refuses: nothing has changed and the step can be made again, as if the first
// attempt had not been; or the step was made, and what is lost with it is said to be lost.
void test_refused_commands(bool poisoned, std::uint32_t calls = 1) {
  for (const std::uint64_t size : {std::uint64_t{4097}, 2 * part_chunks * kChunk + 5}) {
    if (calls != 1 && size != 4097) continue;
    int lost = 0;
    for (int obeyed = 0;; obeyed += interpreted ? 1 + obeyed / 8 : 1) {
      test_name = "a device that refuses a command after " + std::to_string(obeyed) + ", " +
                  std::to_string(size) + " elements" + (poisoned ? ", a bad gradient" : "") +
                  (calls == 1 ? "" : ", accumulated");
      Scenario scenario = of_sizes({size, 3});
      scenario.clip_norm = 1.0;
      scenario.launches = CudaLaunches::kPasses;
      scenario.accumulate_steps = calls;
      HostPair pair(scenario, false);
      const auto all = [](std::size_t) { return true; };
      for (std::uint32_t call = 1; call < calls; ++call) {
        pair.offer(all);
        pair.step();
      }
      std::vector<std::vector<float>>& g = pair.offer(all);
      if (poisoned) g[1][2] = std::nanf("");  // which the second attempt must not remember
      CudaFailure failure{};
      CudaStatus status = CudaStatus::kOk;
      {
        const std::string after = std::to_string(obeyed);
        const Emulated fault("VRADAM_CUDA_EMULATED_FAULT", "refusal");
        const Emulated when("VRADAM_CUDA_EMULATED_AFTER", after.c_str());
        status = pair.attempt(&failure);
      }
      if (status == CudaStatus::kOk) break;
      if (status == CudaStatus::kDeviceLost) {
        check(std::strstr(failure.sentence, "made a change") != nullptr, failure.sentence);
        check(pair.attempt(&failure) == CudaStatus::kDeviceLost, "what is lost stays lost");
        ++lost;
        continue;
      }
      check(status == CudaStatus::kUnavailable && lost == 0, "not lost");
      check(std::strstr(failure.sentence, "nothing has changed") != nullptr, failure.sentence);
      pair.compare();
      pair.offer(all);
      check(pair.step(), "the step is made as if nothing had been before");
    }
    const bool is_refused = poisoned && calls != 1;  // before anything has changed
    check(lost > 0 || interpreted || is_refused, "commands come behind the step");
  }
}

// A device that cannot hold all blocks of the one launch at once takes a launch a pass.
void test_too_large() {
  const Emulated fault("VRADAM_CUDA_EMULATED_FAULT", "too-large");
  Scenario scenario = of_sizes({30000, 9});
  scenario.clip_norm = 1.0;
  run("one launch that is too large", scenario);
}

// A little of everything that the kernels of a rule do, for whoever runs them slowly and often.
void test_brief(Rule rule) {
  const float bad[] = {std::nanf(""), 3e38f};
  for (const CudaLaunches launches : {CudaLaunches::kOne, CudaLaunches::kPasses}) {
    for (const bool clips : {true, false}) {
      test_name = std::string("in brief, ") +
                  (launches == CudaLaunches::kOne ? "one launch" : "a launch a pass") +
                  (clips ? ", clipped, with averages" : "");
      Scenario scenario = of_sizes({100, 5 * kChunk + 1, 4097, 9});
      scenario.rule = rule;
      scenario.groups = {group(), group(0.0), group(1e-20)};
      scenario.groups[2].norm_grad = true;
      for (std::size_t i = 0; i < scenario.tensors.size(); ++i) scenario.tensors[i].first = i % 3;
      if (clips) scenario.clip_norm = scenario.average_decay = 0.75;
      scenario.launches = launches;
      scenario.unaligned = clips;
      scenario.elsewhere = !clips;
      Pair pair(scenario, 7);
      pair.step();
      pair.step([&](std::vector<std::vector<float>>& g) {
        for (const std::size_t at : {4095, 8191, 12287, 16383}) g[1][at] = bad[clips];
      });
      pair.leave_out(0.3);
      pair.step();
    }
  }
  test_name = "in brief, accumulated gradients";
  Scenario scenario = of_sizes({100, 4097, 9});
  scenario.rule = rule;
  scenario.accumulate_steps = 2;
  scenario.unaligned = true;
  Pair pair(scenario, 7);
  pair.step();
  pair.step([](std::vector<std::vector<float>>& g) { g[1][4096] = std::nanf(""); });
  pair.step();
}

void test_large(std::uint64_t size) {
  test_name = std::to_string(size) + " elements";
  Scenario scenario = of_sizes({size, 3});
  scenario.steps = 2;
  Pair(scenario, 5).run();
}

}  // namespace
}  // namespace vradam

int main(int count, char** arguments) {
  using namespace vradam;
  if (count < 2) {
    std::printf("usage: %s PLUGIN [brief | others | many | ELEMENTS]\n", arguments[0]);
    return 2;
  }
  void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 1;
  }
  api = reinterpret_cast<CudaApiFunction>(dlsym(library, "vradam_cuda_api"))(kCudaAbi);
  if (reinterpret_cast<CudaApiFunction>(dlsym(library, "vradam_cuda_api"))(kCudaAbi + 1) != nullptr) {
    fail("another version of the interface is refused");
  }
  interpreted = dlsym(library, "ptx_live_streams") != nullptr;
  CudaDevice device;
  CudaFailure failure;
  if (api->probe(&device, &failure) != CudaStatus::kOk) {
    std::printf("NOT RUN: %s\n", failure.sentence);
    return 0;
  }
  std::printf("on %s\n", device.name);
  const bool emulated = std::strcmp(device.name, "emulation on the host") == 0;
  part_chunks = emulated ? 5 : 1024;
  if (emulated) test_no_pinned_memory();
  const std::string part = count > 2 ? arguments[2] : "";
  if (!part.empty()) {
    if (part == "brief") {
      test_brief(Rule::adam);
    } else if (part == "others") {
      test_brief(Rule::rmspropMomentum);
    } else if (part == "many") {
      test_many();
    } else {
      test_large(std::strtoull(part.c_str(), nullptr, 10));
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
  }
  test_sizes();
  test_rules();
  test_other_rules();
  for (const Rule rule : {Rule::adam, Rule::rmspropMomentum}) test_accumulation(rule);
  test_many();
  test_refusal();
  test_repeated_launches();
  test_other_powers();
  test_queue(1);
  test_queue(20);
  test_host();
  test_accumulation_on_host();
  if (emulated) {
    test_no_memory();
    test_refused_commands(true);
    test_refused_commands(false);
    test_refused_commands(true, 2);
    test_refused_commands(false, 2);
    test_too_large();
  }
  // One launch ends with 12 chunks on the emulation, with 792 on an H100 or H200.
  test_growth(emulated ? 10 : 790);
  std::printf(failures == 0 ? "the CUDA engine gives the bytes of the CPU engine\n" : "%d failures\n",
              failures);
  return failures == 0 ? 0 : 1;
}
