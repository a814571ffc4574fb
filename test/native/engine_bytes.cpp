// Every instruction set and number of threads gives the same bytes, and those of a plain reading of the rule.
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include "../../native/core/control_word.h"
#include "../../native/core/reduction.h"
#include "../../native/core/rule.h"
#include "../../native/cpu/dispatch.h"
#include "../../native/cpu/engine.h"
#include "check.h"

namespace vradam {
namespace {

using test::random_floats;
using test::same_bytes;

constexpr std::size_t kSizes[] = {0, 1, 63, 64, 65, 4095, 4096, 4097, 20000, 70001};

struct Scenario {
  const char* name;
  GroupSettings groups[2];
  std::optional<double> clip_norm;
  double gradient_scale;
  Rule rule = Rule::adam;
  std::optional<double> clip_value = {};
};

GroupSettings settings(double beta3, double power, bool norm_grad, bool maximize) {
  return {0.9, 0.999, beta3, 1e-8, 1e-2, power, 10.0, norm_grad, maximize};
}

const Scenario kScenarios[] = {
    {"velocity", {settings(1, 2, false, false), settings(0.5, 2, false, false)}, {}, 1},
    {"gradient", {settings(1, 2, true, false), settings(0, 2, false, false)}, {}, 1},
    {"powers", {settings(1, 1, false, false), settings(1, 3, true, false)}, {}, 0.5},
    {"fourth, clipped", {settings(1, 4, false, true), settings(1, 3, false, false)}, 0.25, 0.125},
    {"adamw, clipped", {settings(0, 2, false, false), settings(0, 2, false, true)}, 0.25, 1},
};

struct Run {
  std::vector<std::vector<float>> parameters;
  std::vector<test::Arrays> state;
  std::vector<double> report;

  bool operator==(const Run& other) const {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!same_bytes(parameters[i], other.parameters[i]) || !same_bytes(state[i], other.state[i])) {
        return false;
      }
    }
    return std::memcmp(report.data(), other.report.data(), report.size() * sizeof(double)) == 0;
  }
};

bool has_gradient(std::size_t tensor, int step) {
  return (tensor + static_cast<std::size_t>(step)) % 5 != 3;
}

// Large, small, and so small that a velocity of them is or becomes subnormal.
std::vector<float> gradient_of(std::size_t tensor, int step, std::size_t size) {
  const float scales[] = {0.1f, 1e-3f, 1e-37f};
  return random_floats(size, static_cast<unsigned>(1000 * step + tensor), scales[tensor % 3]);
}

Run run_engine(const Scenario& scenario, const Kernels& kernels, unsigned threads, bool elsewhere) {
  EngineSettings engine_settings;
  engine_settings.groups = {scenario.groups[0], scenario.groups[1]};
  engine_settings.clip_norm = scenario.clip_norm;
  engine_settings.clip_value = scenario.clip_value;
  engine_settings.rule = scenario.rule;
  CpuEngine engine(engine_settings, kernels, threads);
  Run run;
  for (std::size_t i = 0; i < std::size(kSizes); ++i) {
    engine.add_tensor(i % 2, kSizes[i]);
    run.parameters.push_back(random_floats(kSizes[i], static_cast<unsigned>(i), 1.0f));
  }
  for (int step = 0; step < 4; ++step) {
    std::vector<std::vector<float>> gradients, out;
    std::vector<TensorBuffers> buffers(std::size(kSizes));
    for (std::size_t i = 0; i < std::size(kSizes); ++i) {
      gradients.push_back(gradient_of(i, step, kSizes[i]));
      out.push_back(run.parameters[i]);
    }
    for (std::size_t i = 0; i < std::size(kSizes); ++i) {
      std::vector<float>& target = elsewhere ? out[i] : run.parameters[i];
      buffers[i] = {run.parameters[i].data(), target.data(), gradients[i].data(), has_gradient(i, step)};
    }
    StepScalars scalars[2];
    for (std::size_t k = 0; k < 2; ++k) {
      scalars[k] = {1e-2, scenario.gradient_scale, scenario.groups[k].maximize ? -1.0 : 1.0};
    }
    const StepResult result = engine.step({buffers.data(), scalars});
    CHECK(result.applied());
    if (elsewhere) run.parameters = out;
    run.report.push_back(result[kReportGradientNorm]);
    for (std::size_t k = 0; k < 2; ++k) run.report.push_back(result.penalty(k));
    for (std::size_t k = 0; k < 2; ++k) run.report.push_back(result.effective_learning_rate(k));
  }
  for (std::uint32_t i = 0; i < std::size(kSizes); ++i) {
    run.state.push_back(test::state_of(engine, i).arrays);
  }
  return run;
}

// The design's sentences, one after the other, with no thought for speed.
double sum_in_order(std::vector<double> values) {
  if (values.empty()) return 0;
  do {
    std::vector<double> sums;
    for (std::size_t begin = 0; begin < values.size(); begin += 4096) {
      double lanes[64] = {};
      for (std::size_t i = begin; i < values.size() && i < begin + 4096; ++i)
        lanes[(i - begin) % 64] += values[i];
      for (int w = 32; w >= 1; w /= 2) {
        for (int l = 0; l < w; ++l) lanes[l] += lanes[l + w];
      }
      sums.push_back(lanes[0]);
    }
    values = sums;
  } while (values.size() > 1);
  return values[0];
}

std::vector<double> chunk_sums(const std::vector<double>& terms) {
  std::vector<double> sums;
  for (std::size_t begin = 0; begin < terms.size(); begin += 4096) {
    const std::size_t end = std::min(begin + 4096, terms.size());
    sums.push_back(
        sum_in_order({terms.begin() + static_cast<long>(begin), terms.begin() + static_cast<long>(end)}));
  }
  return sums;
}

float plain_tiny0(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? 0.0f : x;
}

double plain_power(double beta, std::uint64_t t) {
  if (t == 0) return 1;
  double bases[64] = {beta};
  for (int bit = 1; t >> bit != 0; ++bit) bases[bit] = bases[bit - 1] * bases[bit - 1];
  double result = 1;
  for (int bit = 0; t >> bit != 0; ++bit) result *= t >> bit & 1 ? bases[bit] : 1;
  return result;
}

Run run_plainly(const Scenario& scenario) {
  Run run;
  std::vector<std::uint64_t> steps(std::size(kSizes), 0);
  for (std::size_t i = 0; i < std::size(kSizes); ++i) {
    run.parameters.push_back(random_floats(kSizes[i], static_cast<unsigned>(i), 1.0f));
    run.state.emplace_back(2, std::vector<float>(kSizes[i], 0.0f));
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int step = 0; step < 4; ++step) {
    double norm = nan, coefficient = 1;
    if (scenario.clip_norm) {
      std::vector<double> sums;
      for (std::size_t i = 0; i < std::size(kSizes); ++i) {
        if (!has_gradient(i, step)) continue;
        std::vector<double> terms;
        for (const float g : gradient_of(i, step, kSizes[i])) terms.push_back(static_cast<double>(g) * g);
        for (const double sum : chunk_sums(terms)) sums.push_back(sum);
      }
      norm = scenario.gradient_scale * std::sqrt(sum_in_order(sums));
      coefficient = *scenario.clip_norm / std::max(*scenario.clip_norm, norm);
    }
    double penalty[2] = {nan, nan}, rate[2];
    for (std::size_t k = 0; k < 2; ++k) {
      const GroupSettings& group = scenario.groups[k];
      const auto c = static_cast<float>((group.maximize ? -1 : 1) * (scenario.gradient_scale * coefficient));
      if (group.beta3 != 0) {
        std::vector<double> sums;
        for (std::size_t i = k; i < std::size(kSizes); i += 2) {
          if (!has_gradient(i, step)) continue;
          const std::vector<float> g = gradient_of(i, step, kSizes[i]);
          std::vector<double> terms;
          for (std::size_t j = 0; j < g.size(); ++j) {
            const float x = c * g[j];
            const float v = static_cast<float>(group.beta1) * run.state[i][0][j] +
                            static_cast<float>(1 - group.beta1) * x;
            const double d = std::fabs(static_cast<double>(group.norm_grad ? x : plain_tiny0(v)));
            double term = d;
            for (int power = 1; power < group.power; ++power) term *= d;
            terms.push_back(term);
          }
          for (const double sum : chunk_sums(terms)) sums.push_back(sum);
        }
        penalty[k] = sum_in_order(sums);
      }
      rate[k] = 1e-2 / (1 + (group.beta3 == 0 ? 0 : std::min(group.beta3 * penalty[k], group.lr_cutoff)));
      for (std::size_t i = k; i < std::size(kSizes); i += 2) {
        if (!has_gradient(i, step)) continue;
        steps[i] += 1;
        const auto b1 = static_cast<float>(group.beta1), o1 = static_cast<float>(1 - group.beta1);
        const auto b2 = static_cast<float>(group.beta2), o2 = static_cast<float>(1 - group.beta2);
        const auto r1 = static_cast<float>(1 / (1 - plain_power(group.beta1, steps[i])));
        const auto r2 = static_cast<float>(1 / (1 - plain_power(group.beta2, steps[i])));
        const auto eps = static_cast<float>(group.epsilon), wd = static_cast<float>(group.weight_decay);
        const auto eta = static_cast<float>(rate[k]);
        const std::vector<float> g = gradient_of(i, step, kSizes[i]);
        for (std::size_t j = 0; j < g.size(); ++j) {
          float& p = run.parameters[i][j];
          float& v = run.state[i][0][j];
          float& s = run.state[i][1][j];
          const float x = c * g[j];
          v = plain_tiny0(b1 * v + o1 * x);
          s = plain_tiny0(b2 * s + o2 * (x * x));
          p = p - eta * ((v * r1) / (std::sqrt(s * r2) + eps) + wd * p);
        }
      }
    }
    run.report.push_back(norm);
    run.report.insert(run.report.end(), penalty, penalty + 2);
    run.report.insert(run.report.end(), rate, rate + 2);
  }
  return run;
}

void same_bytes_everywhere() {
  for (const Scenario& scenario : kScenarios) {
    const Run plain = run_plainly(scenario);
    for (const Kernels* kernels : available_kernels()) {
      for (unsigned threads = 1; threads <= 3; ++threads) {
        for (const bool elsewhere : {false, true}) {
          if (!(run_engine(scenario, *kernels, threads, elsewhere) == plain)) {
            std::fprintf(stderr, "%s: %s on %u threads differs\n", scenario.name, kernels->name, threads);
            std::exit(1);
          }
        }
      }
    }
  }
}

// Of the other rules: as the scalar kernels make it on one thread.
void same_bytes_of_every_rule() {
  const Kernels& scalar = *find_kernels("scalar");
  for (std::size_t rule = 0; rule < kRuleCount; ++rule) {
    const Scenario scenarios[] = {
        {"penalty", {settings(1, 2, false, false), settings(0, 2, false, true)}, {}, 0.5},
        {"cut", {settings(1, 3, true, false), settings(0, 2, false, false)}, {}, 1, {}, 0.05},
    };
    for (Scenario scenario : scenarios) {
      scenario.rule = static_cast<Rule>(rule);
      const Run expected = run_engine(scenario, scalar, 1, false);
      for (const Kernels* kernels : available_kernels()) {
        for (const bool elsewhere : {false, true}) {
          if (run_engine(scenario, *kernels, elsewhere ? 3 : 1, elsewhere) == expected) continue;
          std::fprintf(stderr, "%s, %s: %s differs\n", kRules[rule].name, scenario.name, kernels->name);
          std::exit(1);
        }
      }
    }
  }
}

// What the scenarios do not reach: norms and penalties that are not numbers, large t, and more chunks than
// one has room for.
void rates_powers_and_long_sums_are_those_of_the_rule() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(effective_learning_rate(1, 1, nan, 10) == 1 / 11.0);
  CHECK(effective_learning_rate(1, 0, nan, 10) == 1);
  CHECK(clip_coefficient(2, nan) == 1);
  CHECK(clip_coefficient(2, 8) == 0.25);
  for (const std::uint64_t t : {0ull, 1ull, 2ull, 3ull, 1000ull, 123456789ull, 1ull << 40}) {
    CHECK(integer_power(0.9999, t) == plain_power(0.9999, t));
  }
  std::vector<double> values;
  for (const float value : random_floats(3 * 4096 + 7, 5, 1)) values.push_back(value);
  const double expected = sum_in_order(values);
  CHECK(reduce_chunks(values.data(), values.size()) == expected);
}

void a_removed_tensor_was_never_there() {
  EngineSettings engine_settings;
  engine_settings.groups = {settings(1, 2, false, false)};
  engine_settings.clip_norm = 0.5;
  CpuEngine with(engine_settings, *available_kernels().front(), 2);
  CpuEngine without(engine_settings, *available_kernels().front(), 2);
  const std::size_t sizes[] = {5000, 20000, 300};
  std::vector<float> gradients[3];
  for (std::uint32_t i = 0; i < 3; ++i) {
    gradients[i] = random_floats(sizes[i], i, 1);
    with.add_tensor(0, sizes[i]);
    if (i != 1) without.add_tensor(0, sizes[i]);
  }
  const StepScalars scalars = {1e-2, 1, 1};
  const auto step = [&](CpuEngine& engine, std::initializer_list<std::size_t> tensors) {
    std::vector<std::vector<float>> p;
    std::vector<TensorBuffers> buffers;
    for (const std::size_t i : tensors) p.push_back(random_floats(sizes[i], 10, 1));
    for (const std::size_t i : tensors) {
      float* const parameters = p[buffers.size()].data();
      buffers.push_back({parameters, parameters, gradients[i].data(), i != 1});
    }
    CHECK(engine.step({buffers.data(), &scalars}).applied());
    return p;
  };
  step(with, {0, 1, 2});
  step(without, {0, 2});
  with.remove_tensor(1);
  CHECK(step(with, {0, 2}) == step(without, {0, 2}));
  CHECK(test::state_of(with, 1) == test::state_of(without, 1));
}

#if defined(VRADAM_X86)
// Parameters that are subnormal show who flushes: without a gradient's pull they shrink a little, or are
// lost. Called before the pool has threads, because these begin with the control word of the thread that
// starts them.
void a_caller_that_flushes_subnormals_changes_nothing() {
  const auto stepped = [] {
    EngineSettings engine_settings;
    engine_settings.groups = {settings(1, 2, false, false)};
    CpuEngine engine(engine_settings, *available_kernels().front(), 2);
    std::vector<float> p(400000, 1e-39f);
    const std::vector<float> g(p.size(), 0.0f);
    engine.add_tensor(0, p.size());
    const TensorBuffers buffers = {p.data(), p.data(), g.data(), true};
    const StepScalars scalars = {1e-2, 1, 1};
    // A thread of the pool takes part in some of them.
    for (int step = 0; step < 50; ++step) CHECK(engine.step({&buffers, &scalars}).applied());
    return p;
  };
  const unsigned before = _mm_getcsr();
  const unsigned flushing = before | 0x8040;  // flush to zero, denormals are zero
  _mm_setcsr(flushing);
  const std::vector<float> flushed = stepped();
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK((after & 0xffc0) == (flushing & 0xffc0));
  const std::vector<float> expected = stepped();
  CHECK(expected[0] != 0.0f && expected[0] < 1e-39f);
  CHECK(same_bytes(flushed, expected));
}
#endif

// From two million elements on stores stream, and wide vectors make room for narrower ones.
void large_updates_elsewhere_equal_those_in_place() {
  const std::size_t n = (std::size_t{1} << 21) + 5;
  std::vector<float> expected;
  for (const Kernels* kernels : available_kernels()) {
    EngineSettings engine_settings;
    engine_settings.groups = {settings(1, 2, false, false)};
    CpuEngine in_place(engine_settings, *kernels, 2), elsewhere(engine_settings, *kernels, 2);
    in_place.add_tensor(0, n);
    elsewhere.add_tensor(0, n);
    std::vector<float> p = random_floats(n, 1, 1), g = random_floats(n, 2, 1e-3f);
    const std::vector<float> before = p;
    std::vector<float> out(n + 1, 7.0f);
    const StepScalars scalars = {1e-3, 1, 1};
    TensorBuffers buffers = {before.data(), out.data() + 1, g.data(), true};  // not 16-byte aligned
    CHECK(elsewhere.step({&buffers, &scalars}).applied());
    buffers = {p.data(), p.data(), g.data(), true};
    CHECK(in_place.step({&buffers, &scalars}).applied());
    CHECK(out[0] == 7.0f);
    CHECK(same_bytes(p.data(), out.data() + 1, n));
    if (expected.empty()) expected = p;
    CHECK(same_bytes(p, expected));
  }
}

// The first element that refuses a step is told, in order of registration: that of a block, of a tensor's
// blocks, of the tensors.
void a_refused_step_changes_nothing(const Kernels& kernels, const std::vector<bool>& clips,
                                    const std::vector<std::size_t>& first_places) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float bad_values[] = {std::nanf(""), infinity, -infinity, 1.8446744e19f};
  const std::pair<std::uint32_t, std::size_t> places[] = {
      {0, 9000}, {0, 9001}, {0, 17123}, {1, 17123}, {1, 19999}};
  for (const bool clip : clips) {
    for (const double beta3 : {0.0, 1.0}) {
      for (const float bad : bad_values) {
        for (const std::size_t first : first_places) {
          EngineSettings engine_settings;
          engine_settings.groups = {settings(1, 2, false, false), settings(beta3, 2, false, false)};
          // With clipping, a large finite gradient is scaled down and accepted.
          if (clip) engine_settings.clip_norm = 1e30;
          CpuEngine engine(engine_settings, kernels, 2);
          std::vector<float> p[2], g[2];
          TensorBuffers buffers[2];
          for (std::uint32_t k = 0; k < 2; ++k) {
            engine.add_tensor(k, 20000);
            p[k] = random_floats(20000, k, 1);
            g[k] = random_floats(20000, 10 + k, 1e-3f);
            buffers[k] = {p[k].data(), p[k].data(), g[k].data(), true};
          }
          const StepScalars scalars[2] = {{1e-3, 1, 1}, {1e-3, 1, 1}};
          CHECK(engine.step({buffers, scalars}).applied());
          const std::vector<float> p_before[2] = {p[0], p[1]};
          const test::State before[] = {test::state_of(engine, 0), test::state_of(engine, 1)};
          for (std::size_t i = first; i < std::size(places); ++i) g[places[i].first][places[i].second] = bad;
          const StepResult result = engine.step({buffers, scalars});
          CHECK(!result.applied());
          CHECK(result[kReportRefusedTensor] == static_cast<double>(places[first].first));
          CHECK(result[kReportRefusedElement] == static_cast<double>(places[first].second));
          const auto value = static_cast<float>(result[kReportRefusedValue]);
          CHECK(std::memcmp(&value, &bad, sizeof bad) == 0);
          CHECK(same_bytes(p[0], p_before[0]) && same_bytes(p[1], p_before[1]));
          CHECK(test::state_of(engine, 0) == before[0] && test::state_of(engine, 1) == before[1]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace vradam

// valgrind does not model the control word; its run says so and leaves that check out.
int main(int argc, char** argv) {
#if defined(VRADAM_X86)
  if (argc > 1 && std::strcmp(argv[1], "valgrind") == 0) {
    std::puts("engine_bytes: NOT RUN under valgrind: a_caller_that_flushes_subnormals_changes_nothing");
  } else {
    vradam::a_caller_that_flushes_subnormals_changes_nothing();
  }
#else
  static_cast<void>(argc);
  static_cast<void>(argv);
#endif
  vradam::rates_powers_and_long_sums_are_those_of_the_rule();
  vradam::same_bytes_everywhere();
  vradam::same_bytes_of_every_rule();
  vradam::a_removed_tensor_was_never_there();
  const std::vector<const vradam::Kernels*> kernels = vradam::available_kernels();
  vradam::a_refused_step_changes_nothing(*kernels.front(), {false, true}, {0, 3, 4});
  for (const vradam::Kernels* others : kernels) vradam::a_refused_step_changes_nothing(*others, {false}, {2});
  vradam::large_updates_elsewhere_equal_those_in_place();
  std::puts("engine_bytes: passed");
}
