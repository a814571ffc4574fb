// The memory of a step and the report of what it did, as plain data: the same for every engine, on the device
// and in JavaScript.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vradam {

// Memory of one tensor in one step. p_in and p_out are equal or disjoint; without a gradient the tensor is
// left alone.
struct TensorBuffers {
  const float* p_in = nullptr;
  float* p_out = nullptr;
  const float* gradient = nullptr;
  bool active = false;  // has a gradient; an empty one may be a null pointer
};

// A report is a run of doubles: these, then two a group (penalty, effective learning rate).
enum ReportField : std::uint32_t {
  kReportGradientNorm = 0,     // NaN without clipping
  kReportClipCoefficient = 1,  // 1 without clipping
  kReportRefusedTensor = 2,    // -1: none
  kReportRefusedElement = 3,
  kReportRefusedValue = 4,
  kReportCopiedBytes = 5,  // of parameters and gradients, to memory of the engine's own and back
  kReportOutcome = 6,
  kReportFieldCount = 7,
};
constexpr std::uint32_t kReportFieldsPerGroup = 2;

constexpr std::size_t report_width(std::size_t groups) {
  return kReportFieldCount + kReportFieldsPerGroup * groups;
}

enum StepOutcome : std::uint32_t {
  kRefused = 0,  // a gradient refused it
  kApplied = 1,
  kHalted = 2,       // it stood behind a refused one and did nothing
  kAccumulated = 3,  // its gradients wait for others
};

// Reports that an engine keeps of steps that were enqueued. The report of step k overwrites that of step
// k - kReportSlots.
constexpr std::uint64_t kReportSlots = 1024;

}  // namespace vradam
