// Messages between the ranks of a group, whoever carries them.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "abi.h"

namespace vradam {

// A rank gave no answer. A sentence without its full stop.
struct TransportFailure : std::runtime_error {
  TransportFailure(const std::string& sentence, std::int32_t about)
      : std::runtime_error(sentence), rank(about) {}
  std::int32_t rank;  // -1: not known which
};

// What GroupApi says of its functions; `begin` and `finish` throw TransportFailure.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::uint32_t rank() const = 0;
  virtual std::uint32_t size() const = 0;
  virtual void begin(const GroupMessage* sends, const GroupMessage* receives) = 0;
  virtual void finish() = 0;
  virtual void abort() = 0;
};

}  // namespace vradam
