// What a plugin is made of: a transport, and how to open one. plugin.cpp puts both behind the C ABI.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "abi.h"

namespace vradam {

// The work of GroupApi. Every function may throw.
class GroupTransport {
 public:
  virtual ~GroupTransport() = default;
  virtual GroupMessage address() { return {nullptr, 0}; }
  virtual void connect(const GroupMessage* addresses) = 0;
  virtual void begin(const GroupMessage* sends, const GroupMessage* receives) = 0;
  virtual void finish() = 0;
  virtual void abort() = 0;
};

// What went wrong with a rank. A sentence without its full stop.
struct RankFailure : std::runtime_error {
  RankFailure(std::uint32_t of, const std::string& sentence) : std::runtime_error(sentence), rank(of) {}
  std::uint32_t rank;
};

// Each plugin has these.
extern const char* const kLibrary;
std::unique_ptr<GroupTransport> open_transport(GroupPlace& place);

}  // namespace vradam
