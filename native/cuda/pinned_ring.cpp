#include "pinned_ring.h"

#include <algorithm>
#include <cstring>

namespace vradam {
namespace cuda {

// Never destroyed: copies may be under way while the process ends.
PinnedRing& PinnedRing::instance() {
  static PinnedRing* const ring = new PinnedRing();
  return *ring;
}

void PinnedRing::open() {
  if (piece_bytes_ != 0) return;
  for (Piece& piece : pieces_) {
    if (piece.free == nullptr) piece.free = runtime::make_mark();
  }
  const std::uint64_t bytes = runtime::piece_bytes();
  auto* const memory = static_cast<unsigned char*>(runtime::allocate_pinned(kPieces * bytes));
  for (std::uint64_t k = 0; k < kPieces; ++k) pieces_[k].memory = memory + k * bytes;
  piece_bytes_ = bytes;
}

PinnedRing::Piece& PinnedRing::next() {
  Piece& piece = pieces_[turn_++ % kPieces];
  runtime::wait_for(piece.free);
  return piece;
}

void PinnedRing::upload(Stream stream, void* device, const void* host, std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  open();
  for (std::uint64_t at = 0; at < bytes; at += piece_bytes_) {
    Piece& piece = next();
    const std::uint64_t length = std::min(bytes - at, piece_bytes_);
    std::memcpy(piece.memory, static_cast<const unsigned char*>(host) + at, length);
    runtime::copy(stream, static_cast<unsigned char*>(device) + at, piece.memory, length);
    runtime::set_mark(piece.free, stream);
  }
}

void PinnedRing::download(Stream stream, const void* device, void* host, std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  open();
  Piece* under_way[kPieces];
  const std::uint64_t count = (bytes + piece_bytes_ - 1) / piece_bytes_;
  const auto length = [&](std::uint64_t k) { return std::min(bytes - k * piece_bytes_, piece_bytes_); };
  std::uint64_t asked = 0;
  for (std::uint64_t k = 0; k < count; ++k) {
    for (; asked < count && asked < k + kPieces; ++asked) {
      Piece& piece = next();
      runtime::copy(stream, piece.memory, static_cast<const unsigned char*>(device) + asked * piece_bytes_,
                    length(asked));
      runtime::set_mark(piece.free, stream);
      under_way[asked % kPieces] = &piece;
    }
    Piece& piece = *under_way[k % kPieces];
    runtime::wait_for(piece.free);
    std::memcpy(static_cast<unsigned char*>(host) + k * piece_bytes_, piece.memory, length(k));
  }
}

}  // namespace cuda
}  // namespace vradam
