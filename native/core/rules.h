// Every rule by number and name, with its state arrays in order. What each does is in rule.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vradam {

// f(rule, names of its state arrays); src/engines/rules.ts has the same list.
#define VRADAM_RULES(f) f(adam, "velocity", "secondMoment") VRADAM_OTHER_RULES(f)
#define VRADAM_OTHER_RULES(f)                                                                           \
  f(amsgrad, "velocity", "secondMoment", "maxSecondMoment") f(sgd) f(momentum, "velocity")              \
      f(nesterov, "velocity") f(rmsprop, "secondMoment") f(rmspropMomentum, "velocity", "secondMoment") \
          f(rmspropCentered, "secondMoment", "meanGradient")                                            \
              f(rmspropCenteredMomentum, "velocity", "secondMoment", "meanGradient")                    \
                  f(adagrad, "accumulator") f(adadelta, "secondMoment", "accumulatedUpdate")            \
                      f(adamax, "velocity", "infinityNorm") f(lion, "velocity")

enum class Rule : std::uint32_t {
#define VRADAM_RULE_NUMBER(name, ...) name,
  VRADAM_RULES(VRADAM_RULE_NUMBER)
#undef VRADAM_RULE_NUMBER
};

constexpr std::size_t kMostArrays = 3;                     // of a rule
constexpr std::size_t kMostStateArrays = kMostArrays + 1;  // with the average of the parameters

struct RuleEntry {
  const char* name;
  const char* arrays[kMostArrays + 1];  // null after the last

  constexpr std::size_t array_count() const {
    std::size_t count = 0;
    while (arrays[count] != nullptr) ++count;
    return count;
  }
};

inline constexpr RuleEntry kRules[] = {
#define VRADAM_RULE_ENTRY(name, ...) {#name, {__VA_ARGS__}},
    VRADAM_RULES(VRADAM_RULE_ENTRY)
#undef VRADAM_RULE_ENTRY
};
inline constexpr std::size_t kRuleCount = sizeof kRules / sizeof *kRules;

constexpr const RuleEntry& entry_of(Rule rule) {
  return kRules[static_cast<std::size_t>(rule)];
}

template <Rule kRule>
inline constexpr std::size_t kArraysOf = entry_of(kRule).array_count();

}  // namespace vradam
