// Memory for the state of one tensor: zeroed, aligned, in huge pages where the system grants them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vradam {

// velocity and second moment of one tensor. Movable, not copyable. Throws std::bad_alloc.
class StateMemory {
 public:
  explicit StateMemory(std::uint64_t size);
  ~StateMemory();
  StateMemory(StateMemory&& other) noexcept;
  StateMemory(const StateMemory&) = delete;
  StateMemory& operator=(const StateMemory&) = delete;
  StateMemory& operator=(StateMemory&& other) noexcept;

  float* velocity() const { return velocity_; }
  float* second_moment() const { return second_moment_; }
  // Whether its pages are still untouched, so that whoever writes first decides where they lie.
  bool untouched() const { return mapped_; }

 private:
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
  bool mapped_ = false;
  float* velocity_ = nullptr;
  float* second_moment_ = nullptr;
};

}  // namespace vradam
