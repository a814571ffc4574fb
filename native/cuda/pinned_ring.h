// Copies between the device and memory of the host, which may change or go as soon as they return: they go
// through pinned memory, piece by piece, and while some pieces are on their way the host fills or empties
// others.
#pragma once

#include <cstdint>
#include <mutex>

#include "runtime.h"

namespace vradam {
namespace cuda {

class PinnedRing {
 public:
  // That of the process.
  static PinnedRing& instance();

  // Throw std::bad_alloc before anything is copied, where there is no memory yet. An upload does not wait for
  // the device as long as the ring has pieces that are free; a download waits for its last byte.
  void upload(Stream stream, void* device, const void* host, std::uint64_t bytes);
  void download(Stream stream, const void* device, void* host, std::uint64_t bytes);

 private:
  // Steps that change their tables or travel in parts get as far ahead of the device as this many pieces.
  static constexpr std::uint64_t kPieces = 16;

  struct Piece {
    unsigned char* memory = nullptr;
    runtime::Mark* free = nullptr;
  };

  void open();
  // The next piece, free.
  Piece& next();

  std::mutex mutex_;
  std::uint64_t piece_bytes_ = 0;
  Piece pieces_[kPieces];
  std::uint64_t turn_ = 0;
};

}  // namespace cuda
}  // namespace vradam
