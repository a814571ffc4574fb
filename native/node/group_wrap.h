// A group of processes as a JavaScript object. src/engines/addon.ts types it.
#pragma once

#include <napi.h>

#include <memory>

#include "../group/ranks.h"

namespace vradam {

// openGroup(path) → { reason } where the plugin at the path cannot be used, or else what addon.ts types.
Napi::Value open_group(const Napi::CallbackInfo& info);

class GroupWrap : public Napi::ObjectWrap<GroupWrap> {
 public:
  static Napi::Function define(Napi::Env env, const GroupApi& api);
  // Throws where the value is no group that has been connected.
  static std::shared_ptr<Ranks> ranks_of(Napi::Env env, Napi::Value value);
  explicit GroupWrap(const Napi::CallbackInfo& info);

 private:
  class PluginTransport;
  class Worker;

  Napi::Value rank(const Napi::CallbackInfo& info);
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value address(const Napi::CallbackInfo& info);
  Napi::Value connect(const Napi::CallbackInfo& info);
  void broadcast(const Napi::CallbackInfo& info);
  void abort(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<PluginTransport> transport_;
  std::shared_ptr<Ranks> ranks_;  // once it is connected
};

}  // namespace vradam
