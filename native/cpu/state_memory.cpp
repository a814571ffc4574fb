#include "state_memory.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vradam {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{1} << 21;

std::size_t round_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

#if defined(__linux__)
constexpr std::size_t kPage = 4096;

// Address space costs nothing, so huge pages may be aligned by reserving one more; whole ones only are
// asked for, so that no more than the state itself becomes resident.
void* map_zeroed(std::size_t bytes) {
  void* const reserved =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(reserved);
  char* const aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage));
  const std::size_t kept = round_up(bytes, kPage);
  char* const end = begin + round_up(bytes + kHugePage, kPage);
  if (aligned != begin) munmap(begin, static_cast<std::size_t>(aligned - begin));
  if (end != aligned + kept) munmap(aligned + kept, static_cast<std::size_t>(end - (aligned + kept)));
  const std::size_t whole = bytes / kHugePage * kHugePage;
  if (whole != 0) madvise(aligned, whole, MADV_HUGEPAGE);
  return aligned;
}
#endif

}  // namespace

StateMemory::StateMemory(std::size_t arrays, std::uint64_t size) {
  if (arrays == 0 || size == 0) return;
  if (size > (std::numeric_limits<std::size_t>::max() - 2 * kHugePage) / (arrays * sizeof(float))) {
    throw std::bad_alloc();
  }
  const std::size_t each = round_up(static_cast<std::size_t>(size) * sizeof(float), kAlignment);
  bytes_ = arrays * each;
#if defined(__linux__)
  if (bytes_ >= kHugePage) {
    base_ = map_zeroed(bytes_);
    mapped_ = base_ != nullptr;
  }
#endif
  if (base_ == nullptr) {
    // Aligned here: what posix_memalign has freed does not fit the next request for as much.
    base_ = std::calloc(bytes_ + kAlignment, 1);
    if (base_ == nullptr) throw std::bad_alloc();
  }
  const auto begin = round_up(reinterpret_cast<std::uintptr_t>(base_), kAlignment);
  begin_ = reinterpret_cast<float*>(begin);
  stride_ = each / sizeof(float);
}

StateMemory::StateMemory(StateMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      bytes_(other.bytes_),
      mapped_(other.mapped_),
      begin_(other.begin_),
      stride_(other.stride_) {}

StateMemory& StateMemory::operator=(StateMemory&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  std::swap(mapped_, other.mapped_);
  std::swap(begin_, other.begin_);
  std::swap(stride_, other.stride_);
  return *this;
}

StateMemory::~StateMemory() {
  if (base_ == nullptr) return;
#if defined(__linux__)
  if (mapped_) {
    munmap(base_, round_up(bytes_, kPage));
    return;
  }
#endif
  std::free(base_);
}

}  // namespace vradam
