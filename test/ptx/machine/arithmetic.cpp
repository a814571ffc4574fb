// What instructions compute. A register is 64 bits; what is narrower lies in the low ones, above zeros.
#include <cmath>
#include <type_traits>

#include "machine.h"

namespace ptx {
namespace {

using Table = std::map<std::string, Handler>;

template <typename To, typename From, auto f>
void unary(Thread& t, const Instruction& one) {
  t.put<To>(one.slots[0], static_cast<To>(f(t.get<From>(one.slots[1]))));
}

template <typename To, typename From, auto f>
void binary(Thread& t, const Instruction& one) {
  t.put<To>(one.slots[0], static_cast<To>(f(t.get<From>(one.slots[1]), t.get<From>(one.slots[2]))));
}

template <typename To, typename From, auto f>
void ternary(Thread& t, const Instruction& one) {
  t.put<To>(one.slots[0], static_cast<To>(f(t.get<From>(one.slots[1]), t.get<From>(one.slots[2]),
                                            t.get<From>(one.slots[3]))));
}

template <typename T>
void select(Thread& t, const Instruction& one) {
  t.put<T>(one.slots[0], t.get<T>(t.get<bool>(one.slots[3]) ? one.slots[1] : one.slots[2]));
}

template <typename T, bool kLeft>
void shift(Thread& t, const Instruction& one) {
  const T value = t.get<T>(one.slots[1]);
  const auto by = t.get<std::uint32_t>(one.slots[2]);
  constexpr std::uint32_t kBits = 8 * sizeof(T);
  const T beyond = std::is_signed_v<T> && value < 0 ? T(-1) : T(0);
  t.put<T>(one.slots[0], by >= kBits ? beyond
                         : kLeft     ? static_cast<T>(value << by)
                                     : static_cast<T>(value >> by));
}

template <typename T>
void moves(Table& table, const std::string& type) {
  table["mov." + type] = unary<T, T, ([](T a) { return a; })>;
  table["selp." + type] = select<T>;
}

template <typename T>
void comparisons(Table& table, const std::string& type) {
  table["setp.eq." + type] = binary<bool, T, ([](T a, T b) { return a == b; })>;
  table["setp.ne." + type] = binary<bool, T, ([](T a, T b) { return a < b || a > b; })>;
  table["setp.lt." + type] = binary<bool, T, ([](T a, T b) { return a < b; })>;
  table["setp.le." + type] = binary<bool, T, ([](T a, T b) { return a <= b; })>;
  table["setp.gt." + type] = binary<bool, T, ([](T a, T b) { return a > b; })>;
  table["setp.ge." + type] = binary<bool, T, ([](T a, T b) { return a >= b; })>;
  // True where either is no number.
  table["setp.equ." + type] = binary<bool, T, ([](T a, T b) { return !(a < b || a > b); })>;
  table["setp.neu." + type] = binary<bool, T, ([](T a, T b) { return !(a == b); })>;
  table["setp.ltu." + type] = binary<bool, T, ([](T a, T b) { return !(a >= b); })>;
  table["setp.leu." + type] = binary<bool, T, ([](T a, T b) { return !(a > b); })>;
  table["setp.gtu." + type] = binary<bool, T, ([](T a, T b) { return !(a <= b); })>;
  table["setp.geu." + type] = binary<bool, T, ([](T a, T b) { return !(a < b); })>;
  table["setp.nan." + type] = binary<bool, T, ([](T a, T b) { return a != a || b != b; })>;
  table["setp.num." + type] = binary<bool, T, ([](T a, T b) { return a == a && b == b; })>;
}

template <typename T>
void integers(Table& table, const std::string& type) {
  using Unsigned = std::make_unsigned_t<T>;
  moves<T>(table, type);
  comparisons<T>(table, type);
  table["add." + type] = binary<T, Unsigned, ([](Unsigned a, Unsigned b) { return a + b; })>;
  table["sub." + type] = binary<T, Unsigned, ([](Unsigned a, Unsigned b) { return a - b; })>;
  table["mul.lo." + type] = binary<T, Unsigned, ([](Unsigned a, Unsigned b) { return a * b; })>;
  table["mad.lo." + type] =
      ternary<T, Unsigned, ([](Unsigned a, Unsigned b, Unsigned c) { return a * b + c; })>;
  table["div." + type] = binary<T, T, ([](T a, T b) { return b == 0 ? T(-1) : a / b; })>;
  table["rem." + type] = binary<T, T, ([](T a, T b) { return b == 0 ? a : a % b; })>;
  table["neg." + type] = unary<T, Unsigned, ([](Unsigned a) { return Unsigned(0) - a; })>;
  table["min." + type] = binary<T, T, ([](T a, T b) { return a < b ? a : b; })>;
  table["max." + type] = binary<T, T, ([](T a, T b) { return a > b ? a : b; })>;
  table["shr." + type] = shift<T, false>;
}

template <typename T>
void bits(Table& table, const std::string& type) {
  moves<T>(table, type);
  comparisons<T>(table, type);
  table["and." + type] = binary<T, T, ([](T a, T b) { return a & b; })>;
  table["or." + type] = binary<T, T, ([](T a, T b) { return a | b; })>;
  table["xor." + type] = binary<T, T, ([](T a, T b) { return a ^ b; })>;
  table["not." + type] = unary<T, T, ([](T a) { return ~a; })>;
  table["shl." + type] = shift<T, true>;
  table["shr." + type] = shift<T, false>;
}

template <typename T>
void floats(Table& table, const std::string& type) {
  moves<T>(table, type);
  comparisons<T>(table, type);
  table["abs." + type] = unary<T, T, ([](T a) { return std::fabs(a); })>;
  table["neg." + type] = unary<T, T, ([](T a) { return -a; })>;
  table["add.rn." + type] = binary<T, T, ([](T a, T b) { return a + b; })>;
  table["sub.rn." + type] = binary<T, T, ([](T a, T b) { return a - b; })>;
  table["mul.rn." + type] = binary<T, T, ([](T a, T b) { return a * b; })>;
  table["div.rn." + type] = binary<T, T, ([](T a, T b) { return a / b; })>;
  table["fma.rn." + type] = ternary<T, T, ([](T a, T b, T c) { return std::fma(a, b, c); })>;
  table["sqrt.rn." + type] = unary<T, T, ([](T a) { return std::sqrt(a); })>;
  // NaN only of two NaN; -0 below +0.
  table["max." + type] = binary<T, T, ([](T a, T b) { return a == 0 && b == 0 ? a + b : std::fmax(a, b); })>;
  table["rcp.rn." + type] = unary<T, T, ([](T a) { return T(1) / a; })>;
}

template <typename To, typename From>
void conversion(Table& table, const std::string& to, const std::string& from) {
  constexpr bool kRounds = std::is_floating_point_v<To> && sizeof(From) >= sizeof(To);
  table["cvt." + std::string(kRounds || std::is_integral_v<From> != std::is_integral_v<To> ? "rn." : "") +
        to + "." + from] = unary<To, From, ([](From a) { return a; })>;
}

template <typename From>
void conversions(Table& table, const std::string& from) {
  conversion<std::uint16_t, From>(table, "u16", from);
  conversion<std::int16_t, From>(table, "s16", from);
  conversion<std::uint32_t, From>(table, "u32", from);
  conversion<std::int32_t, From>(table, "s32", from);
  conversion<std::uint64_t, From>(table, "u64", from);
  conversion<std::int64_t, From>(table, "s64", from);
  conversion<float, From>(table, "f32", from);
  conversion<double, From>(table, "f64", from);
}

// On predicates.
void logic(Table& table) {
  table["and.pred"] = binary<bool, bool, ([](bool a, bool b) { return a && b; })>;
  table["or.pred"] = binary<bool, bool, ([](bool a, bool b) { return a || b; })>;
  table["xor.pred"] = binary<bool, bool, ([](bool a, bool b) { return a != b; })>;
  table["not.pred"] = unary<bool, bool, ([](bool a) { return !a; })>;
  table["mov.pred"] = unary<bool, bool, ([](bool a) { return a; })>;
}

void insert_bits(Thread& t, const Instruction& one) {
  const std::uint32_t at = t.get<std::uint32_t>(one.slots[3]) & 0xff;
  const std::uint32_t length = t.get<std::uint32_t>(one.slots[4]) & 0xff;
  const std::uint64_t ones = length >= 64 ? ~0ull : (1ull << length) - 1;
  const std::uint64_t mask = at >= 64 ? 0 : ones << at;
  t.put<std::uint64_t>(one.slots[0],
                       (t.bits(one.slots[2]) & ~mask) | ((t.bits(one.slots[1]) << (at & 63)) & mask));
}

Table make_table() {
  Table table;
  integers<std::uint16_t>(table, "u16");
  integers<std::int16_t>(table, "s16");
  integers<std::uint32_t>(table, "u32");
  integers<std::int32_t>(table, "s32");
  integers<std::uint64_t>(table, "u64");
  integers<std::int64_t>(table, "s64");
  bits<std::uint16_t>(table, "b16");
  bits<std::uint32_t>(table, "b32");
  bits<std::uint64_t>(table, "b64");
  floats<float>(table, "f32");
  floats<double>(table, "f64");
  conversions<std::uint8_t>(table, "u8");
  conversions<std::uint16_t>(table, "u16");
  conversions<std::int16_t>(table, "s16");
  conversions<std::uint32_t>(table, "u32");
  conversions<std::int32_t>(table, "s32");
  conversions<std::uint64_t>(table, "u64");
  conversions<std::int64_t>(table, "s64");
  conversions<float>(table, "f32");
  conversions<double>(table, "f64");
  logic(table);
  table["mul.wide.u32"] =
      binary<std::uint64_t, std::uint32_t, ([](std::uint64_t a, std::uint64_t b) { return a * b; })>;
  table["mul.wide.s32"] =
      binary<std::int64_t, std::int32_t, ([](std::int64_t a, std::int64_t b) { return a * b; })>;
  table["cvt.rzi.f64.f64"] = unary<double, double, ([](double a) { return std::trunc(a); })>;
  // To a few bits, which whoever uses it refines.
  table["rcp.approx.ftz.f64"] =
      unary<double, double, ([](double a) { return static_cast<double>(1.0f / static_cast<float>(a)); })>;
  // What the kernels must not be made of. Not the GPU's bits, but as far off.
  table["div.approx.f32"] = binary<float, float, ([](float a, float b) { return a * (1.0f / b); })>;
  table["sqrt.approx.f32"] = unary<float, float, ([](float a) { return a * (1.0f / std::sqrt(a)); })>;
  for (const char* const name : {"cvta.to.global.u64", "cvta.param.u64", "cvta.global.u64"}) {
    table[name] = table["mov.b64"];
  }
  table["cvta.shared.u64"] =
      unary<std::uint64_t, std::uint64_t, ([](std::uint64_t a) { return a + kSharedWindow; })>;
  table["bfi.b64"] = insert_bits;
  table["unpack"] = [](Thread& t, const Instruction& one) {
    const std::uint64_t both = t.bits(one.slots[2]);
    t.put<std::uint32_t>(one.slots[0], static_cast<std::uint32_t>(both));
    t.put<std::uint32_t>(one.slots[1], static_cast<std::uint32_t>(both >> 32));
  };
  table["pack"] = [](Thread& t, const Instruction& one) {
    const std::uint64_t low = t.get<std::uint32_t>(one.slots[1]);
    t.put<std::uint64_t>(one.slots[0], low | std::uint64_t{t.get<std::uint32_t>(one.slots[2])} << 32);
  };
  return table;
}

}  // namespace

const Table& arithmetic() {
  static const Table table = make_table();
  return table;
}

}  // namespace ptx
