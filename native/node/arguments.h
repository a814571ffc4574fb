// What JavaScript may hand over, checked. Types and options have been checked in TypeScript, with better
// sentences; these checks keep memory safe whatever comes.
#pragma once

#include <napi.h>

#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "../core/engine.h"

namespace vradam {

inline Napi::Error error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", code);
  return error;
}

inline Napi::Error shape_error(Napi::Env env, const std::string& message) {
  return error(env, "ERR_VRADAM_SHAPE", message);
}

inline Napi::Error engine_error(Napi::Env env, const std::string& message) {
  return error(env, "ERR_VRADAM_ENGINE", message);
}

inline Napi::Error engine_error(Napi::Env env, const EngineFailure& failure) {
  const Napi::Error thrown = error(env, failure.code, failure.what());
  if (failure.out_of_memory) thrown.Value().Set("outOfMemory", true);
  return thrown;
}

constexpr const char* kOutOfMemory = "Out of memory; nothing has changed";

// Calls f and throws what an engine throws as an error of JavaScript.
template <typename F>
auto translated(Napi::Env env, const F& f) {
  try {
    return f();
  } catch (const EngineFailure& failure) {
    throw engine_error(env, failure);
  } catch (const std::bad_alloc&) {
    throw engine_error(env, kOutOfMemory);
  }
}

// An integer in [0, limit].
inline std::uint64_t count_argument(const Napi::CallbackInfo& info, std::size_t index, const char* name,
                                    double limit) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(value >= 0 && value <= limit) || value != std::floor(value)) {
    throw shape_error(info.Env(), std::string("Expected an integer from 0 to ") +
                                      std::to_string(static_cast<std::uint64_t>(limit)) + " for " + name);
  }
  return static_cast<std::uint64_t>(value);
}

inline double number_argument(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  if (!info[index].IsNumber()) throw shape_error(info.Env(), std::string("Expected a number for ") + name);
  return info[index].As<Napi::Number>().DoubleValue();
}

inline bool boolean_argument(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  if (!info[index].IsBoolean()) throw shape_error(info.Env(), std::string("Expected a boolean for ") + name);
  return info[index].As<Napi::Boolean>().Value();
}

struct Doubles {
  double* data;
  std::size_t length;
};

inline Doubles doubles_argument(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array) {
    throw shape_error(info.Env(), std::string("Expected a Float64Array for ") + name);
  }
  return {static_cast<double*>(data), length};
}

// The memory of a Float32Array of exactly `size` elements.
inline float* floats(Napi::Env env, napi_value value, std::uint64_t size, const char* name,
                     std::size_t tensor) {
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float32_array) {
    throw shape_error(
        env, std::string("Expected a Float32Array for ") + name + " of tensor " + std::to_string(tensor));
  }
  if (length != size || (data == nullptr && size != 0)) {
    throw shape_error(env, std::string("Expected ") + std::to_string(size) + " elements for " + name +
                               " of tensor " + std::to_string(tensor) + " but received " +
                               std::to_string(length));
  }
  return static_cast<float*>(data);
}

// What both engines take: the largest size and step count, and how many doubles stand for a group.
constexpr double kLargestSize = 1e13;
constexpr double kLargestStep = 9007199254740991.0;
constexpr std::size_t kGroupFields = 9;

inline std::vector<GroupSettings> groups_argument(const Napi::CallbackInfo& info, std::size_t index) {
  const Doubles values = doubles_argument(info, index, "groups");
  if (values.length == 0 || values.length % kGroupFields != 0) {
    throw shape_error(info.Env(), "Expected nine numbers a group, and a group, for groups");
  }
  std::vector<GroupSettings> groups;
  for (std::size_t at = 0; at < values.length; at += kGroupFields) {
    const double* const x = values.data + at;
    groups.push_back({x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7] != 0, x[8] != 0});
  }
  return groups;
}

}  // namespace vradam
