// What the ranks of a group do together: agree, gather, and add up in the order of ranks.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../core/engine.h"
#include "transport.h"

namespace vradam {

// The group failed or differs.
struct GroupError : EngineFailure {
  explicit GroupError(const std::string& sentence) : EngineFailure(sentence, false, "ERR_VRADAM_GROUP") {}
};

// FNV-1a, over plain numbers and text.
class Fingerprint {
 public:
  template <typename T>
  Fingerprint& add(const T& value) {
    return add_bytes(&value, sizeof value);
  }
  Fingerprint& add(const std::string& text) { return add(text.size()).add_bytes(text.data(), text.size()); }
  std::uint64_t value() const { return value_; }

 private:
  Fingerprint& add_bytes(const void* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      value_ = (value_ ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3u;
    }
    return *this;
  }

  std::uint64_t value_ = 0xcbf29ce484222325u;
};

// Every function that is not const is called by all ranks, in the same order, and from `agree` on while the
// rank has the turn; each throws GroupError. After a failure, each throws that failure again.
class Ranks {
 public:
  explicit Ranks(std::shared_ptr<Transport> transport);

  std::uint32_t rank() const { return transport_->rank(); }
  std::uint32_t size() const { return transport_->size(); }

  // A number for another engine of this group, from 1: the same on all ranks.
  std::uint32_t number_engine() { return ++engines_; }

  // One thread of this process at a time.
  std::unique_lock<std::mutex> turn() { return std::unique_lock<std::mutex>(turn_); }

  // What all ranks are about to do, and a fingerprint of what they must have in common. Where they differ,
  // the first of `lines` that does is named, and the group goes on.
  void agree(const std::string& what, const Fingerprint& fingerprint,
             const std::function<std::vector<std::string>()>& lines);
  // Rank r has the bytes from begin[r] to begin[r + 1]; afterwards every rank has all of them.
  void gather(void* memory, const std::vector<std::uint64_t>& begin);
  // Adds up what the ranks have for each other. Rank r gets begin[r + 1] - begin[r] sums: over the ranks, in
  // their order, in double, rounded once. `copy(r, at, count, to)` copies what this rank has for rank r.
  using Copy = std::function<void(std::uint32_t, std::uint64_t, std::uint64_t, float*)>;
  void reduce(const std::vector<std::uint64_t>& begin, const Copy& copy, float* sums);
  // Waits until every rank has come here; then nothing can be done any more.
  void close();

 private:
  using Messages = std::vector<GroupMessage>;

  // Runs transfers, each of which begins before the one before has finished.
  void carry(std::uint64_t transfers, const std::function<void(std::uint64_t)>& begin,
             const std::function<void(std::uint64_t)>& finished);
  void fail(const std::string& sentence);
  // Elements of four bytes in a message to each rank.
  std::uint64_t window() const;

  std::shared_ptr<Transport> transport_;
  std::atomic<std::uint32_t> engines_{0};
  std::mutex turn_;
  std::string doing_ = "joining";
  std::string failure_;

  // Of the two transfers of `reduce` that are under way: what goes to every rank, and what comes from it.
  struct Staging {
    std::vector<float> sends, receives;
  };
  Staging staging_[2];
};

}  // namespace vradam
