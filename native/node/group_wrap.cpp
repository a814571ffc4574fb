#include "group_wrap.h"

#include <cstring>
#include <functional>
#include <mutex>
#include <utility>

#include "arguments.h"
#include "library.h"

namespace vradam {
namespace {

constexpr napi_type_tag kTag = {0x1b0c5a7de2f84d3a, 0x8f6e20b94c17d5e3};
constexpr double kMostRanks = 65536;

}  // namespace

Napi::Value open_group(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw engine_error(env, "Expected a path for the plugin");
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const Napi::Object opened = Napi::Object::New(env);
  std::string why;
  void* const library = open_library(path, &why);
  const auto api_of = library == nullptr
                          ? nullptr
                          : reinterpret_cast<GroupApiFunction>(find_symbol(library, "vradam_group_api"));
  const GroupApi* const api = api_of == nullptr ? nullptr : api_of(kGroupAbi);
  if (api == nullptr) {
    opened.Set("reason", "The plugin " + path +
                             (library == nullptr ? " could not be loaded: " + why
                                                 : " belongs to another version of vradam"));
    return opened;
  }
  opened.Set("library", api->library);
  opened.Set("Group", GroupWrap::define(env, *api));
  return opened;
}

// Over a plugin's C ABI. Shared by the ranks that use it and whoever may abort it.
class GroupWrap::PluginTransport : public Transport {
 public:
  PluginTransport(const GroupApi& api, GroupPlace place) : api_(api), place_(place) {
    GroupFailure failure{};
    demand(api_.open(&place_, &transport_, &address_, &failure), failure);
  }
  ~PluginTransport() override { close(); }
  PluginTransport(const PluginTransport&) = delete;
  PluginTransport& operator=(const PluginTransport&) = delete;

  std::uint32_t rank() const override { return place_.rank; }
  std::uint32_t size() const override { return place_.size; }
  const GroupMessage& address() const { return address_; }

  void connect(const GroupMessage* addresses) {
    GroupFailure failure{};
    demand(api_.connect(transport_, addresses, &failure), failure);
  }
  void begin(const GroupMessage* sends, const GroupMessage* receives) override {
    GroupFailure failure{};
    demand(api_.begin(transport_, sends, receives, &failure), failure);
  }
  void finish() override {
    GroupFailure failure{};
    demand(api_.finish(transport_, &failure), failure);
  }
  void abort() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (transport_ != nullptr) api_.abort(transport_);
  }
  // On the thread that made it: MPI_Finalize's demand.
  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (transport_ != nullptr) api_.close(std::exchange(transport_, nullptr));
  }

 private:
  static void demand(bool done, const GroupFailure& failure) {
    if (!done) throw TransportFailure(failure.sentence, failure.rank);
  }

  const GroupApi& api_;
  GroupPlace place_;
  GroupMessage address_{};
  GroupTransport* transport_ = nullptr;
  std::mutex mutex_;  // of abort and close, which may come from different threads
};

// Work on one of libuv's threads, and what comes afterwards on that of JavaScript; it ends in a promise of
// nothing.
class GroupWrap::Worker : public Napi::AsyncWorker {
 public:
  Worker(
      Napi::Env env, std::function<void()> work, std::function<void()> afterwards = [] {})
      : Napi::AsyncWorker(env, "vradam.group"),
        work_(std::move(work)),
        afterwards_(std::move(afterwards)),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Value begin() {
    Queue();
    return deferred_.Promise();
  }
  void Execute() override {
    try {
      work_();
    } catch (const std::exception& failure) {
      SetError(failure.what());
    }
  }
  void OnOK() override {
    afterwards_();
    deferred_.Resolve(Env().Undefined());
  }
  void OnError(const Napi::Error& failure) override {
    deferred_.Reject(error(Env(), "ERR_VRADAM_GROUP", failure.Message()).Value());
  }

 private:
  std::function<void()> work_;
  std::function<void()> afterwards_;
  Napi::Promise::Deferred deferred_;
};

Napi::Function GroupWrap::define(Napi::Env env, const GroupApi& api) {
  return DefineClass(env, "Group",
                     {
                         InstanceMethod<&GroupWrap::rank>("rank"),
                         InstanceMethod<&GroupWrap::size>("size"),
                         InstanceMethod<&GroupWrap::address>("address"),
                         InstanceMethod<&GroupWrap::connect>("connect"),
                         InstanceMethod<&GroupWrap::broadcast>("broadcast"),
                         InstanceMethod<&GroupWrap::abort>("abort"),
                         InstanceMethod<&GroupWrap::close>("close"),
                     },
                     const_cast<GroupApi*>(&api));
}

std::shared_ptr<Ranks> GroupWrap::ranks_of(Napi::Env env, Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw engine_error(env, "Expected a group");
  }
  const std::shared_ptr<Ranks> ranks = Unwrap(value.As<Napi::Object>())->ranks_;
  if (!ranks) throw engine_error(env, "Expected a group that has been connected");
  return ranks;
}

// new Group(rank, size, timeout in milliseconds, host)
GroupWrap::GroupWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<GroupWrap>(info) {
  const Napi::Env env = info.Env();
  info.This().As<Napi::Object>().TypeTag(&kTag);
  const auto count = [&](std::size_t index, const char* name, double limit) {
    return static_cast<std::uint32_t>(count_argument(info, index, name, limit));
  };
  const std::string host = info[3].ToString().Utf8Value();
  const GroupPlace place = {count(0, "rank", kMostRanks), count(1, "size", kMostRanks),
                            count(2, "timeout", 2147483647.0), host.c_str()};
  try {
    transport_ = std::make_shared<PluginTransport>(*static_cast<const GroupApi*>(info.Data()), place);
  } catch (const TransportFailure& failure) {
    throw error(env, "ERR_VRADAM_GROUP", failure.what());
  }
}

Napi::Value GroupWrap::rank(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), transport_->rank());
}

Napi::Value GroupWrap::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), transport_->size());
}

// address() → Uint8Array: what the other ranks have to know
Napi::Value GroupWrap::address(const Napi::CallbackInfo& info) {
  const GroupMessage& address = transport_->address();
  Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), address.bytes);
  if (address.bytes != 0) std::memcpy(bytes.Data(), address.memory, address.bytes);
  return bytes;
}

// connect(addresses: Uint8Array[]) → a promise
Napi::Value GroupWrap::connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::uint32_t count = transport_->size();
  if (!info[0].IsArray() || info[0].As<Napi::Array>().Length() != count) {
    throw shape_error(env, "Expected an address a rank");
  }
  std::vector<std::vector<std::uint8_t>> addresses;
  for (std::uint32_t r = 0; r < count; ++r) {
    const Napi::Value one = info[0].As<Napi::Array>().Get(r);
    if (!one.IsTypedArray() || one.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      throw shape_error(env, "Expected Uint8Arrays for the addresses");
    }
    auto bytes = one.As<Napi::Uint8Array>();
    addresses.emplace_back(bytes.Data(), bytes.Data() + bytes.ByteLength());
  }
  const std::shared_ptr<PluginTransport> transport = transport_;
  ranks_ = std::make_shared<Ranks>(transport);
  return (new Worker(env,
                     [transport, ranks = ranks_, addresses = std::move(addresses)]() mutable {
                       std::vector<GroupMessage> messages;
                       for (std::vector<std::uint8_t>& one : addresses) {
                         messages.push_back({one.data(), one.size()});
                       }
                       transport->connect(messages.data());
                       // Others may have connected to a rank that does not know them yet.
                       const std::unique_lock<std::mutex> turn = ranks->turn();
                       ranks->agree("joining", Fingerprint(), [] { return std::vector<std::string>(); });
                     }))
      ->begin();
}

// broadcast(arrays: Float32Array[]): fills them with those of rank 0
void GroupWrap::broadcast(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Ranks> ranks = ranks_of(env, info.This());
  if (!info[0].IsArray()) throw shape_error(env, "Expected an array of Float32Arrays");
  const auto arrays = info[0].As<Napi::Array>();
  std::vector<std::pair<float*, std::uint64_t>> memory;
  Fingerprint sizes;
  std::vector<std::string> lines;
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < arrays.Length(); ++i) {
    const Napi::Value one = arrays.Get(i);
    const std::uint64_t size = one.IsTypedArray() ? one.As<Napi::TypedArray>().ElementLength() : 0;
    memory.emplace_back(floats(env, one, size, "broadcast", i), size);
    sizes.add(size);
    lines.push_back("array " + std::to_string(i) + " of " + std::to_string(size) + " elements");
    total += size;
  }
  translated(env, [&] {
    std::vector<float> all;
    if (ranks->rank() == 0) {
      for (const auto& [data, size] : memory) all.insert(all.end(), data, data + size);
    } else
      all.resize(total);
    std::vector<std::uint64_t> begin(ranks->size() + 1, total * sizeof(float));
    begin[0] = 0;
    const std::unique_lock<std::mutex> turn = ranks->turn();
    ranks->agree("a broadcast", sizes, [&] { return lines; });
    ranks->gather(all.data(), begin);
    const float* from = all.data();
    for (const auto& [data, size] : memory) {
      if (size != 0) std::memcpy(data, from, size * sizeof(float));
      from += size;
    }
  });
}

// abort(): everything that waits fails, and everything that comes
void GroupWrap::abort(const Napi::CallbackInfo&) {
  transport_->abort();
}

// close() → a promise that resolves when every rank has closed
Napi::Value GroupWrap::close(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Ranks> ranks = ranks_of(info.Env(), info.This());
  return (new Worker(
              info.Env(),
              [ranks] {
                const std::unique_lock<std::mutex> turn = ranks->turn();
                ranks->close();
              },
              [transport = transport_] { transport->close(); }))
      ->begin();
}

}  // namespace vradam
