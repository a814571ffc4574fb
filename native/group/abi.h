// The border between the addon and a plugin that carries messages between the ranks of a group: plain structs
// and functions, so that either side may be built by another compiler. Both sides check the version; nothing
// here is ever thrown.
#pragma once

#include <cstdint>

namespace vradam {

constexpr std::uint32_t kGroupAbi = 1;

// Memory of a message; of no bytes: no message.
struct GroupMessage {
  void* memory;
  std::uint64_t bytes;
};

// What a rank begins with. MPI has ranks of its own and writes rank and size.
struct GroupPlace {
  std::uint32_t rank;
  std::uint32_t size;
  std::uint32_t timeout;  // milliseconds without an answer, after which a rank is taken for lost
  const char* host;       // name or address of this machine by which the other ranks reach it
};

// Filled where a function returns false: a sentence without its full stop, and the rank that it is about.
struct GroupFailure {
  char sentence[512];
  std::int32_t rank;  // -1: none
};

class GroupTransport;

struct GroupApi {
  std::uint32_t version;
  const char* library;  // for people

  // Opens a rank. `address` is what every rank has to know of it before they connect; it belongs to the
  // transport.
  bool (*open)(GroupPlace* place, GroupTransport** transport, GroupMessage* address, GroupFailure* failure);
  // Connects to all others, by the addresses of all ranks.
  bool (*connect)(GroupTransport* transport, const GroupMessage* addresses, GroupFailure* failure);
  // Begins to send and to receive: at most one message each for every rank, none for one's own. The memory
  // belongs to the transfer until `finish`. All ranks begin the same transfers in the same order.
  bool (*begin)(GroupTransport* transport, const GroupMessage* sends, const GroupMessage* receives,
                GroupFailure* failure);
  // Waits for the oldest transfer. Where it fails, the connections are closed and no memory is used any more.
  bool (*finish)(GroupTransport* transport, GroupFailure* failure);
  // Makes a transfer that waits fail, and every later one. On any thread.
  void (*abort)(GroupTransport* transport);
  void (*close)(GroupTransport* transport);
};

// What a plugin exports under the name "vradam_group_api": null where it speaks another version.
using GroupApiFunction = const GroupApi* (*)(std::uint32_t version);

}  // namespace vradam
