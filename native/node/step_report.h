// The report of a step as JavaScript reads it: these doubles, then penalty and effective learning rate of
// each group.
#pragma once

#include <napi.h>

#include <cstddef>
#include <string>

#include "../core/plan.h"
#include "arguments.h"

namespace vradam {

// Gradient norm, clip coefficient, of the refusal tensor, element and value, and the bytes that were copied.
constexpr std::size_t kResultFields = 6;
constexpr std::size_t kResultFieldsPerGroup = 2;

inline double* result_argument(const Napi::CallbackInfo& info, std::size_t index, std::size_t groups) {
  const Doubles report = doubles_argument(info, index, "report");
  const std::size_t length = kResultFields + kResultFieldsPerGroup * groups;
  if (report.length != length) {
    throw shape_error(info.Env(),
                      std::string("Expected ") + std::to_string(length) + " numbers for the report");
  }
  return report.data;
}

inline void write_result(const StepResult& result, double* report) {
  report[0] = result.gradient_norm;
  report[1] = result.clip_coefficient;
  report[2] = result.refusal ? static_cast<double>(result.refusal->tensor) : -1.0;
  report[3] = result.refusal ? static_cast<double>(result.refusal->element) : -1.0;
  report[4] = result.refusal ? static_cast<double>(result.refusal->value) : 0.0;
  report[5] = static_cast<double>(result.copied_bytes);
  for (std::size_t k = 0; k < result.penalties.size(); ++k) {
    report[kResultFields + kResultFieldsPerGroup * k] = result.penalties[k];
    report[kResultFields + kResultFieldsPerGroup * k + 1] = result.effective_learning_rates[k];
  }
}

}  // namespace vradam
