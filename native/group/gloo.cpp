// Messages over TCP, carried by Gloo (github.com/pytorch/gloo), which needs no launcher.
#include <gloo/context.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/tcp/attr.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "plugin.h"

namespace vradam {
namespace {

using std::chrono::milliseconds;
using Buffer = std::unique_ptr<gloo::transport::UnboundBuffer>;

// Without the place in Gloo's sources that its sentences begin with.
std::string sentence_of(const std::exception& error) {
  const std::string text = error.what();
  const std::size_t end = text.find("] ");
  return text.empty() || text[0] != '[' || end == std::string::npos ? text : text.substr(end + 2);
}

// Pairs of connected sockets, one for every other rank.
class Mesh : public gloo::Context {
 public:
  explicit Mesh(const GroupPlace& place)
      : gloo::Context(static_cast<int>(place.rank), static_cast<int>(place.size)) {
    setTimeout(milliseconds(place.timeout));
    gloo::transport::tcp::attr attributes;
    attributes.hostname = place.host;
    device_ = gloo::transport::tcp::CreateDevice(attributes);
    transportContext_ = device_->createContext(rank, size);
    transportContext_->setTimeout(getTimeout());
    for (int r = 0; r < size; ++r) {
      if (r == rank) continue;
      const std::vector<char> bytes = transportContext_->createPair(r)->address().bytes();
      width_ = bytes.size();
      addresses_.resize(static_cast<std::size_t>(size) * width_);
      std::copy(bytes.begin(), bytes.end(), addresses_.begin() + offset(r));
    }
  }

  // For each rank where it connects to, behind each other.
  std::vector<char>& addresses() { return addresses_; }

  void connect(int r, const GroupMessage& addresses) {
    if (addresses.bytes != addresses_.size()) throw RankFailure(r, "its address is of another size");
    const char* const at = static_cast<const char*>(addresses.memory) + offset(rank);
    transportContext_->getPair(r)->connect(std::vector<char>(at, at + width_));
  }

 private:
  std::ptrdiff_t offset(int r) const {
    return static_cast<std::ptrdiff_t>(static_cast<std::size_t>(r) * width_);
  }

  std::size_t width_ = 0;
  std::vector<char> addresses_;
};

class GlooTransport : public GroupTransport {
 public:
  explicit GlooTransport(const GroupPlace& place) : mesh_(place) {}

  GroupMessage address() override { return {mesh_.addresses().data(), mesh_.addresses().size()}; }

  // In one order at all ranks: of two, the one with the lower port waits here until the other comes to it.
  void connect(const GroupMessage* addresses) override {
    for (int r = 0; r < mesh_.size; ++r) {
      if (r != mesh_.rank) with(r, [&] { mesh_.connect(r, addresses[r]); });
    }
  }

  void begin(const GroupMessage* sends, const GroupMessage* receives) override {
    Transfer transfer(static_cast<std::size_t>(mesh_.size));
    const std::uint64_t slot = transfers_begun_++;
    const auto buffer = [&](const GroupMessage& message) {
      return message.bytes == 0 ? nullptr : mesh_.createUnboundBuffer(message.memory, message.bytes);
    };
    // What is to be received first: its notice is then ahead of our last data, which is thus the last a rank
    // reads of us.
    each_other([&](int r) {
      transfer[r].second = buffer(receives[r]);
      if (transfer[r].second) transfer[r].second->recv(r, slot);
    });
    each_other([&](int r) {
      transfer[r].first = buffer(sends[r]);
      if (transfer[r].first) transfer[r].first->send(r, slot);
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    transfers_.push_back(std::move(transfer));
  }

  void finish() override {
    Transfer& transfer = transfers_.front();
    const auto deadline = std::chrono::steady_clock::now() + mesh_.getTimeout();
    const auto left = [&] {
      const auto rest = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
      return std::max(rest, milliseconds(1));
    };
    const auto check = [](bool came) {
      if (!came) throw std::runtime_error("This process is leaving the group");
    };
    // Sends second: Gloo tells a send nothing of a connection that was lost.
    each_other([&](int r) {
      if (transfer[r].second) check(transfer[r].second->waitRecv(left()));
    });
    each_other([&](int r) {
      if (transfer[r].first) check(transfer[r].first->waitSend(left()));
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    transfers_.pop_front();
  }

  void abort() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Transfer& transfer : transfers_) {
      for (auto& [send, receive] : transfer) {
        if (send) send->abortWaitSend();
        if (receive) receive->abortWaitRecv();
      }
    }
    mesh_.closeConnections();
  }

 private:
  // For every rank, what it is sent and what it sends.
  using Transfer = std::vector<std::pair<Buffer, Buffer>>;

  // Calls f(rank) for the others, nearest first.
  template <typename F>
  void each_other(const F& f) {
    for (int k = 1; k < mesh_.size; ++k) {
      const int r = (mesh_.rank + k) % mesh_.size;
      with(r, [&] { f(r); });
    }
  }

  // What f throws ends the connections and is of that rank.
  template <typename F>
  void with(int r, const F& f) {
    try {
      f();
    } catch (const std::exception& error) {
      mesh_.closeConnections();
      const std::lock_guard<std::mutex> lock(mutex_);
      transfers_.clear();
      throw RankFailure(static_cast<std::uint32_t>(r), sentence_of(error));
    }
  }

  Mesh mesh_;
  std::uint64_t transfers_begun_ = 0;
  std::mutex mutex_;  // of transfers_, which another thread may abort
  std::deque<Transfer> transfers_;
};

}  // namespace

const char* const kLibrary = "Gloo over TCP";

std::unique_ptr<GroupTransport> open_transport(GroupPlace& place) {
  return std::make_unique<GlooTransport>(place);
}

}  // namespace vradam
