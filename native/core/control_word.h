// The floating-point control word of a thread. TensorFlow's threads flush subnormals to zero and read them
// as zero; the rule's bytes must not depend on whose thread runs it.
#pragma once

#include <cstdint>

#if defined(VRADAM_X86)
#include <xmmintrin.h>
#endif

namespace vradam {

// Sets IEEE arithmetic, round to nearest, no exception trapped; restores what was there.
class ControlWord {
 public:
#if defined(VRADAM_X86)
  ControlWord() : saved_(_mm_getcsr()) {
    _mm_setcsr(0x1f80);
  }
  ~ControlWord() {
    _mm_setcsr(saved_);
  }

 private:
  unsigned saved_;
#elif defined(VRADAM_ARM64) && defined(__GNUC__)
  ControlWord() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    const std::uint64_t ieee = 0;
    __asm__ volatile("msr fpcr, %0" : : "r"(ieee));
  }
  ~ControlWord() {
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_));
  }

 private:
  std::uint64_t saved_ = 0;
#else
  ControlWord() {}
  ~ControlWord() {}
#endif

 public:
  ControlWord(const ControlWord&) = delete;
  ControlWord& operator=(const ControlWord&) = delete;
};

}  // namespace vradam
