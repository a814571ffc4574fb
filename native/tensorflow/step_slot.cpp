#include "step_slot.h"

#include <mutex>
#include <unordered_map>

namespace vradam::tensorflow {
namespace {

struct Slots {
  std::mutex mutex;
  std::int32_t last = 0;
  std::unordered_map<std::int32_t, std::shared_ptr<StepSlot>> open;
};

// Never destroyed: threads of TensorFlow may outlive static objects.
Slots& slots() {
  static Slots* const all = new Slots();
  return *all;
}

}  // namespace

std::int32_t open_slot() {
  const std::lock_guard<std::mutex> lock(slots().mutex);
  slots().open.emplace(++slots().last, std::make_shared<StepSlot>());
  return slots().last;
}

std::shared_ptr<StepSlot> find_slot(std::int32_t number) {
  const std::lock_guard<std::mutex> lock(slots().mutex);
  const auto found = slots().open.find(number);
  return found == slots().open.end() ? nullptr : found->second;
}

void close_slot(std::int32_t number) {
  const std::lock_guard<std::mutex> lock(slots().mutex);
  slots().open.erase(number);
}

}  // namespace vradam::tensorflow
