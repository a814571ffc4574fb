// Checks that stay on in release builds, and data to run them on.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "../../native/core/engine.h"

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

namespace vradam::test {

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

inline bool same_bytes(const float* a, const float* b, std::size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0;
}

inline bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && same_bytes(a.data(), b.data(), a.size());
}

// The state arrays of a tensor, in the order of its rule.
using Arrays = std::vector<std::vector<float>>;

inline bool same_bytes(const Arrays& a, const Arrays& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return same_bytes(x, y); });
}

inline std::vector<const float*> pointers(const Arrays& arrays) {
  std::vector<const float*> all;
  for (const std::vector<float>& array : arrays) all.push_back(array.data());
  return all;
}

struct State {
  Arrays arrays;
  std::uint64_t steps;

  bool operator==(const State& other) const {
    return same_bytes(arrays, other.arrays) && steps == other.steps;
  }
};

inline State state_of(Engine& engine, std::uint32_t tensor) {
  const std::size_t size = engine.tensors()[tensor].size;
  const std::size_t count = array_count(engine.settings());
  State state = {Arrays(count, std::vector<float>(size)), 0};
  std::vector<float*> to;
  for (std::vector<float>& array : state.arrays) to.push_back(array.data());
  state.steps = engine.read_state(tensor, to.data());
  return state;
}

}  // namespace vradam::test
