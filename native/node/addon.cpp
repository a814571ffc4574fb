// The addon: the engine, and what this machine can do.
#include <napi.h>

#include "../cpu/dispatch.h"
#include "../tensorflow/step_op.h"
#include "../tensorflow/step_slot.h"
#include "arguments.h"
#include "cuda_module.h"
#include "engine_wrap.h"
#include "group_wrap.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace vradam {
namespace {

// Node unloads an addon when the last environment that loaded it exits; the pool's threads run on.
void stay_loaded() {
  const auto* const here = reinterpret_cast<const char*>(&stay_loaded);
#if defined(_WIN32)
  HMODULE self;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, here, &self);
#else
  Dl_info self;
  if (dladdr(here, &self) != 0) {
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
#endif
}

// openTensorflow() → { op, slot }: the name of the op in the TensorFlow of this process, and a slot of this
// thread's own. Throws why there is none.
Napi::Value open_tensorflow(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const tensorflow::StepOp op = tensorflow::register_step_op();
  if (op.name.empty()) throw engine_error(env, op.reason);
  const std::int32_t slot = tensorflow::open_slot();
  env.AddCleanupHook([slot] { tensorflow::close_slot(slot); });
  const Napi::Object opened = Napi::Object::New(env);
  opened.Set("op", op.name);
  opened.Set("slot", slot);
  return opened;
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  stay_loaded();
  exports.Set("Engine", EngineWrap::define(env));
  const Napi::Array names = Napi::Array::New(env);
  for (const Kernels* kernels : available_kernels()) {
    names.Set(names.Length(), Napi::String::New(env, kernels->name));
  }
  exports.Set("instructionSets", names);
  exports.Set("report", report_layout(env));
  exports.Set("rules", rule_table(env));
  exports.Set("openTensorflow", Napi::Function::New<open_tensorflow>(env, "openTensorflow"));
  exports.Set("openCuda", Napi::Function::New<open_cuda>(env, "openCuda"));
  exports.Set("openGroup", Napi::Function::New<open_group>(env, "openGroup"));
  return exports;
}

}  // namespace
}  // namespace vradam

Napi::Object vradam_initialize(Napi::Env env, Napi::Object exports) {
  return vradam::initialize(env, exports);
}

NODE_API_MODULE(vradam, vradam_initialize)
