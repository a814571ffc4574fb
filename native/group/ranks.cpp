#include "ranks.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "../core/plan.h"

namespace vradam {
namespace {

// Bytes that all messages of a transfer have together, about: enough to hide the time a message takes on its
// way, and little enough that a slow link answers within the timeout.
constexpr std::uint64_t kTransfer = std::uint64_t{1} << 21;

// The most that a rank has.
std::uint64_t longest_of(const std::vector<std::uint64_t>& begin) {
  std::uint64_t longest = 0;
  for (std::size_t r = 0; r + 1 < begin.size(); ++r) longest = std::max(longest, begin[r + 1] - begin[r]);
  return longest;
}

std::vector<std::string> split(const char* text, std::uint64_t length) {
  std::vector<std::string> lines(1);
  for (std::uint64_t i = 0; i < length; ++i) {
    if (text[i] == '\n')
      lines.emplace_back();
    else
      lines.back() += text[i];
  }
  return lines;
}

}  // namespace

Ranks::Ranks(std::shared_ptr<Transport> transport) : transport_(std::move(transport)) {}

std::uint64_t Ranks::window() const {
  return std::max<std::uint64_t>(kBlock, kTransfer / sizeof(float) / size());
}

void Ranks::fail(const std::string& sentence) {
  failure_ = "The group failed in " + doing_ + ": " + sentence +
             ". No parameter was written; make a new group and load the last checkpoint";
  transport_->abort();
  throw GroupError(failure_);
}

void Ranks::carry(std::uint64_t transfers, const std::function<void(std::uint64_t)>& begin,
                  const std::function<void(std::uint64_t)>& finished) {
  if (!failure_.empty()) throw GroupError(failure_);
  try {
    for (std::uint64_t k = 0; k <= transfers; ++k) {
      if (k < transfers) begin(k);
      if (k == 0) continue;
      transport_->finish();
      finished(k - 1);
    }
  } catch (const TransportFailure& failure) {
    const std::string who = failure.rank < 0 ? "" : "rank " + std::to_string(failure.rank) + " is lost: ";
    fail(who + failure.what());
  } catch (const std::bad_alloc&) {
    fail("out of memory");
  }
}

void Ranks::agree(const std::string& what, const Fingerprint& fingerprint,
                  const std::function<std::vector<std::string>()>& lines) {
  doing_ = what;
  std::vector<std::uint64_t> begin(size() + 1);
  for (std::size_t r = 0; r <= size(); ++r) begin[r] = r * sizeof(std::uint64_t);
  std::vector<std::uint64_t> words(size());
  words[rank()] = Fingerprint(fingerprint).add(what).value();
  gather(words.data(), begin);
  if (std::count(words.begin(), words.end(), words[0]) == static_cast<std::ptrdiff_t>(size())) return;

  std::string text = what;
  for (const std::string& line : lines()) text += '\n' + line;
  words[rank()] = text.size();
  gather(words.data(), begin);
  std::partial_sum(words.begin(), words.end(), begin.begin() + 1);
  std::string all(begin.back(), '\0');
  std::copy(text.begin(), text.end(), all.begin() + static_cast<std::ptrdiff_t>(begin[rank()]));
  gather(all.data(), begin);
  const std::vector<std::string> first = split(all.data(), words[0]);
  for (std::uint32_t r = 1; r < size(); ++r) {
    const std::vector<std::string> other = split(all.data() + begin[r], words[r]);
    const std::size_t count = std::max(first.size(), other.size());
    for (std::size_t i = 0; i < count; ++i) {
      const std::string theirs = i < other.size() ? other[i] : "nothing more";
      const std::string ours = i < first.size() ? first[i] : "nothing more";
      if (theirs == ours) continue;
      throw GroupError("The ranks of the group differ: rank " + std::to_string(r) + " has '" + theirs +
                       "' where rank 0 has '" + ours + "'. Nothing has changed");
    }
  }
  throw GroupError("The ranks of the group differ. Nothing has changed");
}

void Ranks::gather(void* memory, const std::vector<std::uint64_t>& begin) {
  const std::uint64_t most = window() * sizeof(float);
  const std::uint64_t transfers = (longest_of(begin) + most - 1) / most;
  Messages sends(size());
  Messages receives(size());
  const auto piece = [&](std::uint32_t r, std::uint64_t k) -> GroupMessage {
    const std::uint64_t at = std::min(begin[r] + k * most, begin[r + 1]);
    return {static_cast<char*>(memory) + at, std::min(most, begin[r + 1] - at)};
  };
  carry(
      transfers,
      [&](std::uint64_t k) {
        for (std::uint32_t r = 0; r < size(); ++r) {
          sends[r] = piece(rank(), k);
          receives[r] = piece(r, k);
        }
        transport_->begin(sends.data(), receives.data());
      },
      [](std::uint64_t) {});
}

void Ranks::reduce(const std::vector<std::uint64_t>& begin, const Copy& copy, float* sums) {
  const std::uint64_t longest = longest_of(begin);
  const std::uint64_t most = std::min(window(), longest);
  const std::uint64_t transfers = most == 0 ? 0 : (longest + most - 1) / most;
  const auto piece = [&](std::uint32_t r, std::uint64_t k) {
    const std::uint64_t size = begin[r + 1] - begin[r];
    return std::min(most, size - std::min(size, k * most));
  };
  for (Staging& one : staging_) {
    one.sends.resize(most * size());
    one.receives.resize(most * size());
  }
  Messages sends(size());
  Messages receives(size());
  const std::uint32_t own = rank();
  carry(
      transfers,
      [&](std::uint64_t k) {
        Staging& now = staging_[k % 2];
        for (std::uint32_t r = 0; r < size(); ++r) {
          // One's own is a message to nobody, and lies where those of the others come in.
          float* const from = (r == own ? now.receives : now.sends).data() + r * most;
          if (piece(r, k) != 0) copy(r, k * most, piece(r, k), from);
          sends[r] = {from, piece(r, k) * sizeof(float)};
          receives[r] = {now.receives.data() + r * most, piece(own, k) * sizeof(float)};
        }
        transport_->begin(sends.data(), receives.data());
      },
      [&](std::uint64_t k) {
        const float* const from = staging_[k % 2].receives.data();
        const std::uint64_t count = piece(own, k);
        constexpr std::uint64_t kRun = 1024;
        for (std::uint64_t at = 0; at < count; at += kRun) {
          double total[kRun] = {};
          const std::uint64_t run = std::min(kRun, count - at);
          for (std::uint32_t r = 0; r < size(); ++r) {
            const float* const x = from + r * most + at;
            // The first is not added to zero: that would lose the sign of a negative one.
            if (r == 0)
              std::copy(x, x + run, total);
            else
              for (std::uint64_t i = 0; i < run; ++i) total[i] += x[i];
          }
          float* const to = sums + k * most + at;
          for (std::uint64_t i = 0; i < run; ++i) to[i] = static_cast<float>(total[i]);
        }
      });
}

void Ranks::close() {
  agree("closing", Fingerprint(), [] { return std::vector<std::string>(); });
  failure_ = "The group is closed";
}

}  // namespace vradam
