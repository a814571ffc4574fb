// What the passes need of a device, for nvcc and, for the emulation on the host, for any C++ compiler.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__CUDACC__)
#define VRADAM_DEVICE __device__ __forceinline__
#define VRADAM_UNROLL _Pragma("unroll")
#define VRADAM_UNROLL_TIMES(n) VRADAM_PRAGMA(unroll(n))
#define VRADAM_PRAGMA(text) _Pragma(#text)
#else
#define VRADAM_DEVICE inline
#define VRADAM_UNROLL
#define VRADAM_UNROLL_TIMES(n)
#endif

namespace vradam {
namespace cuda {

// Four floats that move as one; the address is a multiple of 16.
struct alignas(16) Quad {
  float at[4];
};

#if defined(__CUDACC__)

VRADAM_DEVICE Quad load(const float* p) {
  const float4 x = *reinterpret_cast<const float4*>(p);
  return {{x.x, x.y, x.z, x.w}};
}

// Will not be read again soon: the caches may drop it first.
VRADAM_DEVICE Quad load_once(const float* p) {
  const float4 x = __ldcs(reinterpret_cast<const float4*>(p));
  return {{x.x, x.y, x.z, x.w}};
}

VRADAM_DEVICE void store(float* p, const Quad& q) {
  *reinterpret_cast<float4*>(p) = make_float4(q.at[0], q.at[1], q.at[2], q.at[3]);
}

VRADAM_DEVICE void store_once(float* p, const Quad& q) {
  __stcs(reinterpret_cast<float4*>(p), make_float4(q.at[0], q.at[1], q.at[2], q.at[3]));
}

VRADAM_DEVICE void raise(std::int32_t* at, std::int32_t value) {
  atomicMax(at, value);
}
VRADAM_DEVICE void lower(unsigned long long* at, unsigned long long value) {
  atomicMin(at, value);
}
VRADAM_DEVICE unsigned take_ticket(unsigned* at) {
  return atomicAdd(at, 1u);
}
VRADAM_DEVICE void publish() {
  __threadfence_system();
}

#else

// A GPU would stop here, too.
inline void demand_alignment(const float* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignof(Quad) != 0) std::abort();
}

VRADAM_DEVICE Quad load(const float* p) {
  demand_alignment(p);
  Quad q;
  std::memcpy(&q, p, sizeof q);
  return q;
}

VRADAM_DEVICE Quad load_once(const float* p) {
  return load(p);
}
VRADAM_DEVICE void store(float* p, const Quad& q) {
  demand_alignment(p);
  std::memcpy(p, &q, sizeof q);
}
VRADAM_DEVICE void store_once(float* p, const Quad& q) {
  store(p, q);
}
VRADAM_DEVICE void raise(std::int32_t* at, std::int32_t value) {
  *at = *at < value ? value : *at;
}
VRADAM_DEVICE void lower(unsigned long long* at, unsigned long long value) {
  *at = *at > value ? value : *at;
}
VRADAM_DEVICE unsigned take_ticket(unsigned* at) {
  return (*at)++;
}
VRADAM_DEVICE void publish() {}

#endif

}  // namespace cuda
}  // namespace vradam
