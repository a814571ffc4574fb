#include "plugin.h"

#include <cstdio>

namespace vradam {
namespace {

bool fail(GroupFailure* failure, const char* sentence, std::int32_t rank) {
  std::snprintf(failure->sentence, sizeof failure->sentence, "%s", sentence);
  failure->rank = rank;
  return false;
}

template <typename F>
bool guard(GroupFailure* failure, const F& f) {
  try {
    f();
    return true;
  } catch (const RankFailure& e) {
    return fail(failure, e.what(), static_cast<std::int32_t>(e.rank));
  } catch (const std::exception& e) {
    return fail(failure, e.what(), -1);
  }
}

const GroupApi& api() {
  static const GroupApi all = {
      kGroupAbi,
      kLibrary,
      [](GroupPlace* place, GroupTransport** transport, GroupMessage* address, GroupFailure* failure) {
        return guard(failure, [&] {
          std::unique_ptr<GroupTransport> opened = open_transport(*place);
          *address = opened->address();
          *transport = opened.release();
        });
      },
      [](GroupTransport* transport, const GroupMessage* addresses, GroupFailure* failure) {
        return guard(failure, [&] { transport->connect(addresses); });
      },
      [](GroupTransport* transport, const GroupMessage* sends, const GroupMessage* receives,
         GroupFailure* failure) { return guard(failure, [&] { transport->begin(sends, receives); }); },
      [](GroupTransport* transport, GroupFailure* failure) {
        return guard(failure, [&] { transport->finish(); });
      },
      [](GroupTransport* transport) { transport->abort(); },
      [](GroupTransport* transport) { delete transport; },
  };
  return all;
}

}  // namespace
}  // namespace vradam

extern "C" __attribute__((visibility("default"))) const vradam::GroupApi* vradam_group_api(
    std::uint32_t version) {
  return version == vradam::kGroupAbi ? &vradam::api() : nullptr;
}
