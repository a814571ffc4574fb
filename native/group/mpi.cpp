// Messages carried by an MPI, whose launcher starts the ranks. Built on the user's machine, because the ABIs
// of MPIs differ.
#include <mpi.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <vector>

#include "plugin.h"

namespace vradam {
namespace {

void check(int code) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw std::runtime_error(std::string(text, static_cast<std::size_t>(length)));
}

class MpiTransport : public GroupTransport {
 public:
  explicit MpiTransport(GroupPlace& place) : timeout_(place.timeout) {
    int is_initialized = 0;
    check(MPI_Initialized(&is_initialized));
    if (is_initialized != 0) throw std::runtime_error("A process joins a group by MPI once");
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided));
    if (provided < MPI_THREAD_SERIALIZED) throw std::runtime_error("This MPI serves one thread only");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    check(MPI_Comm_dup(MPI_COMM_WORLD, &world_));
    check(MPI_Comm_rank(world_, &rank_));
    check(MPI_Comm_size(world_, &size_));
    place.rank = static_cast<std::uint32_t>(rank_);
    place.size = static_cast<std::uint32_t>(size_);
  }

  // On the thread that made it, as MPI demands. After a failure, MPI would wait for the rank that is lost.
  ~MpiTransport() override {
    if (!is_over_) MPI_Finalize();
  }

  void connect(const GroupMessage*) override {}

  void begin(const GroupMessage* sends, const GroupMessage* receives) override {
    Transfer transfer;
    for (int k = 1; k < size_; ++k) {
      const int r = (rank_ + k) % size_;
      for (const bool comes : {true, false}) {
        const GroupMessage& message = (comes ? receives : sends)[r];
        if (message.bytes == 0) continue;
        const int count = static_cast<int>(message.bytes);
        transfer.push_back({MPI_REQUEST_NULL, r, comes});
        MPI_Request* const request = &transfer.back().request;
        check(comes ? MPI_Irecv(message.memory, count, MPI_BYTE, r, 0, world_, request)
                    : MPI_Isend(message.memory, count, MPI_BYTE, r, 0, world_, request));
      }
    }
    transfers_.push_back(std::move(transfer));
  }

  void finish() override {
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    for (auto& [request, r, comes] : transfers_.front()) {
      for (int tries = 0, done = 0; done == 0; ++tries) {
        check(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done != 0) break;
        if (is_over_) throw std::runtime_error("This process is leaving the group");
        if (std::chrono::steady_clock::now() > deadline) {
          call_off();
          throw RankFailure(static_cast<std::uint32_t>(r), "Timed out");
        }
        if (tries < 100)
          std::this_thread::yield();
        else
          std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
    }
    transfers_.pop_front();
  }

  void abort() override { is_over_ = true; }

 private:
  struct Message {
    MPI_Request request;
    int rank;
    bool comes;
  };
  using Transfer = std::vector<Message>;

  // What has not begun to come never will. MPI cannot call back the rest: it is left to itself, and as MPI is
  // not called any more, it neither reads nor writes memory, but for networks that do so on their own.
  void call_off() {
    is_over_ = true;
    for (Transfer& transfer : transfers_) {
      for (Message& message : transfer) {
        if (message.comes && message.request != MPI_REQUEST_NULL) MPI_Cancel(&message.request);
      }
    }
  }

  std::chrono::milliseconds timeout_;
  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::atomic<bool> is_over_{false};
  std::deque<Transfer> transfers_;
};

}  // namespace

const char* const kLibrary = "MPI";

std::unique_ptr<GroupTransport> open_transport(GroupPlace& place) {
  return std::make_unique<MpiTransport>(place);
}

}  // namespace vradam
