// Memory for the state of one tensor: zeroed, aligned, in huge pages where the system grants them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vradam {

// The state arrays of one tensor. Movable, not copyable. Throws std::bad_alloc.
class StateMemory {
 public:
  StateMemory(std::size_t arrays, std::uint64_t size);
  ~StateMemory();
  StateMemory(StateMemory&& other) noexcept;
  StateMemory(const StateMemory&) = delete;
  StateMemory& operator=(const StateMemory&) = delete;
  StateMemory& operator=(StateMemory&& other) noexcept;

  // Null where it has no elements.
  float* array(std::size_t number) const { return begin_ + number * stride_; }
  // Whether its pages are still untouched, so that whoever writes first decides where they lie.
  bool untouched() const { return mapped_; }

 private:
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
  bool mapped_ = false;
  float* begin_ = nullptr;
  std::size_t stride_ = 0;  // elements between the beginnings of two arrays
};

}  // namespace vradam
