#include "backends/cpu/run/pointwise_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/run/pointwise_math.h"

namespace regraft::cpu {
namespace {

template <typename T>
constexpr Lane kLane = std::is_same_v<T, float>     ? Lane::F32
                       : std::is_same_v<T, int64_t> ? Lane::I64
                                                    : Lane::Bool;

// ---- loops ----

template <typename Op, typename In, typename Out>
struct UnaryTile {
  REGRAFT_INLINE static void run(void* out, const TileOperand* sources, int64_t count) {
    const In* const x = static_cast<const In*>(sources[0].data);
    Out* const to = static_cast<Out*>(out);
    const int64_t last = sources[0].is_single ? 0 : count - 1;
    if (last == 0) {
      const Out value = Op::at(x[0]);
      for (int64_t i = 0; i < count; ++i)
        to[i] = value;
      return;
    }
    for (int64_t i = 0; i < count; ++i)
      to[i] = Op::at(x[i]);
  }
};

template <typename Op, typename In, typename Out>
struct BinaryTile {
  REGRAFT_INLINE static void run(void* out, const TileOperand* sources, int64_t count) {
    const In* const x = static_cast<const In*>(sources[0].data);
    const In* const y = static_cast<const In*>(sources[1].data);
    Out* const to = static_cast<Out*>(out);
    if (sources[1].is_single) {
      const In right = y[0];
      if (sources[0].is_single) {
        const Out value = Op::at(x[0], right);
        for (int64_t i = 0; i < count; ++i)
          to[i] = value;
        return;
      }
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(x[i], right);
    } else if (sources[0].is_single) {
      const In left = x[0];
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(left, y[i]);
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(x[i], y[i]);
    }
  }
};

// The second and third source are single more often than not.
template <typename Op, typename First, typename Rest>
struct TernaryTile {
  REGRAFT_INLINE static void run(void* out, const TileOperand* sources, int64_t count) {
    const First* const x = static_cast<const First*>(sources[0].data);
    const Rest* const y = static_cast<const Rest*>(sources[1].data);
    const Rest* const z = static_cast<const Rest*>(sources[2].data);
    Rest* const to = static_cast<Rest*>(out);
    const bool single_y = sources[1].is_single, single_z = sources[2].is_single;
    if (!sources[0].is_single && single_y && single_z) {
      const Rest b = y[0], c = z[0];
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(x[i], b, c);
    } else if (!sources[0].is_single && !single_y && single_z) {
      const Rest c = z[0];
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(x[i], y[i], c);
    } else if (!sources[0].is_single && !single_y) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = Op::at(x[i], y[i], z[i]);
    } else {
      const int64_t step_x = !sources[0].is_single, step_y = !single_y, step_z = !single_z;
      for (int64_t i = 0; i < count; ++i) {
        to[i] = Op::at(x[i * step_x], y[i * step_y], z[i * step_z]);
      }
    }
  }
};

// ---- table ----

using Maker = TileOp (*)(Isa isa);

template <typename Body>
TileFunction version(Isa isa) {
  return select<Body, void*, const TileOperand*, int64_t>(isa);
}
template <typename Op, typename In, typename Out = In>
TileOp unary(Isa isa) {
  return {kLane<Out>, version<UnaryTile<Op, In, Out>>(isa)};
}
template <typename Op, typename In, typename Out = In>
TileOp binary(Isa isa) {
  return {kLane<Out>, version<BinaryTile<Op, In, Out>>(isa)};
}
template <typename Op, typename First, typename Rest = First>
TileOp ternary(Isa isa) {
  return {kLane<Rest>, version<TernaryTile<Op, First, Rest>>(isa)};
}
// Of functions that call the C library per element: one version.
template <typename Op>
TileOp library(Isa) {
  return {Lane::F32, version<UnaryTile<Op, float, float>>(Isa::Baseline)};
}
template <typename Op>
TileOp library2(Isa) {
  return {Lane::F32, version<BinaryTile<Op, float, float>>(Isa::Baseline)};
}

struct Entry {
  std::string_view name;
  size_t sources;
  // By the lane in which it calculates: f32, i64, bool. Null: not in this lane.
  Maker make[3];
};

// Sources are promoted to the highest lane among them, then to the next lane that the op has.
constexpr Entry kEntries[] = {
    {"add", 2, {binary<Add, float>, binary<Add, int64_t>, nullptr}},
    {"sub", 2, {binary<Sub, float>, binary<Sub, int64_t>, nullptr}},
    {"mul", 2, {binary<Mul, float>, binary<Mul, int64_t>, nullptr}},
    {"div", 2, {binary<Div, float>, nullptr, nullptr}},
    {"div_trunc", 2, {binary<DivTrunc, float>, binary<DivTrunc, int64_t>, nullptr}},
    {"div_floor", 2, {library2<DivFloor>, binary<DivFloor, int64_t>, nullptr}},
    {"fmod", 2, {library2<Fmod>, binary<Fmod, int64_t>, nullptr}},
    {"remainder", 2, {library2<Remainder>, binary<Remainder, int64_t>, nullptr}},
    {"pow", 2, {library2<Pow>, nullptr, nullptr}},
    {"atan2", 2, {library2<Atan2>, nullptr, nullptr}},
    {"minimum", 2, {binary<Minimum, float>, binary<Minimum, int64_t>, binary<Minimum, bool>}},
    {"maximum", 2, {binary<Maximum, float>, binary<Maximum, int64_t>, binary<Maximum, bool>}},
    {"eq", 2, {binary<Eq, float, bool>, binary<Eq, int64_t, bool>, binary<Eq, bool>}},
    {"ne", 2, {binary<Ne, float, bool>, binary<Ne, int64_t, bool>, binary<Ne, bool>}},
    {"lt", 2, {binary<Lt, float, bool>, binary<Lt, int64_t, bool>, binary<Lt, bool>}},
    {"le", 2, {binary<Le, float, bool>, binary<Le, int64_t, bool>, binary<Le, bool>}},
    {"gt", 2, {binary<Gt, float, bool>, binary<Gt, int64_t, bool>, binary<Gt, bool>}},
    {"ge", 2, {binary<Ge, float, bool>, binary<Ge, int64_t, bool>, binary<Ge, bool>}},
    {"logical_and",
     2,
     {binary<LogicalAnd, float, bool>, binary<LogicalAnd, int64_t, bool>,
      binary<LogicalAnd, bool>}},
    {"logical_or",
     2,
     {binary<LogicalOr, float, bool>, binary<LogicalOr, int64_t, bool>, binary<LogicalOr, bool>}},
    {"logical_xor",
     2,
     {binary<LogicalXor, float, bool>, binary<LogicalXor, int64_t, bool>,
      binary<LogicalXor, bool>}},
    {"bitwise_and", 2, {nullptr, binary<BitAnd, int64_t>, binary<BitAnd, bool>}},
    {"bitwise_or", 2, {nullptr, binary<BitOr, int64_t>, binary<BitOr, bool>}},
    {"bitwise_xor", 2, {nullptr, binary<BitXor, int64_t>, binary<BitXor, bool>}},
    {"leaky_relu", 2, {binary<LeakyRelu, float>, nullptr, nullptr}},
    {"elu", 2, {binary<Elu, float>, nullptr, nullptr}},
    {"clamp", 3, {ternary<Clamp, float>, ternary<Clamp, int64_t>, nullptr}},
    {"neg", 1, {unary<Neg, float>, unary<Neg, int64_t>, nullptr}},
    {"abs", 1, {unary<Abs, float>, unary<Abs, int64_t>, nullptr}},
    {"sign", 1, {unary<Sign, float>, unary<Sign, int64_t>, nullptr}},
    {"square", 1, {unary<Square, float>, unary<Square, int64_t>, nullptr}},
    {"relu", 1, {unary<Relu, float>, unary<Relu, int64_t>, nullptr}},
    {"floor", 1, {unary<Floor, float>, nullptr, nullptr}},
    {"ceil", 1, {unary<Ceil, float>, nullptr, nullptr}},
    {"round", 1, {unary<Round, float>, nullptr, nullptr}},
    {"trunc", 1, {unary<Trunc, float>, nullptr, nullptr}},
    {"sqrt", 1, {unary<Sqrt, float>, nullptr, nullptr}},
    {"rsqrt", 1, {unary<Rsqrt, float>, nullptr, nullptr}},
    {"reciprocal", 1, {unary<Reciprocal, float>, nullptr, nullptr}},
    {"exp", 1, {unary<Exp, float>, nullptr, nullptr}},
    {"erf", 1, {unary<Erf, float>, nullptr, nullptr}},
    {"tanh", 1, {unary<Tanh, float>, nullptr, nullptr}},
    {"sigmoid", 1, {unary<Sigmoid, float>, nullptr, nullptr}},
    {"silu", 1, {unary<Silu, float>, nullptr, nullptr}},
    {"gelu", 1, {unary<Gelu, float>, nullptr, nullptr}},
    {"gelu_tanh", 1, {unary<GeluTanh, float>, nullptr, nullptr}},
    {"hardswish", 1, {unary<Hardswish, float>, nullptr, nullptr}},
    {"hardsigmoid", 1, {unary<Hardsigmoid, float>, nullptr, nullptr}},
    {"mish", 1, {unary<Mish, float>, nullptr, nullptr}},
    {"softplus", 1, {library<Softplus>, nullptr, nullptr}},
    {"expm1", 1, {library<Expm1>, nullptr, nullptr}},
    {"log", 1, {library<Log>, nullptr, nullptr}},
    {"log2", 1, {library<Log2>, nullptr, nullptr}},
    {"log10", 1, {library<Log10>, nullptr, nullptr}},
    {"log1p", 1, {library<Log1p>, nullptr, nullptr}},
    {"sin", 1, {library<Sin>, nullptr, nullptr}},
    {"cos", 1, {library<Cos>, nullptr, nullptr}},
    {"tan", 1, {library<Tan>, nullptr, nullptr}},
    {"asin", 1, {library<Asin>, nullptr, nullptr}},
    {"acos", 1, {library<Acos>, nullptr, nullptr}},
    {"atan", 1, {library<Atan>, nullptr, nullptr}},
    {"sinh", 1, {library<Sinh>, nullptr, nullptr}},
    {"cosh", 1, {library<Cosh>, nullptr, nullptr}},
    {"asinh", 1, {library<Asinh>, nullptr, nullptr}},
    {"acosh", 1, {library<Acosh>, nullptr, nullptr}},
    {"atanh", 1, {library<Atanh>, nullptr, nullptr}},
    {"isnan", 1, {unary<IsNan, float, bool>, nullptr, nullptr}},
    {"isinf", 1, {unary<IsInf, float, bool>, nullptr, nullptr}},
    {"logical_not",
     1,
     {unary<LogicalNot, float, bool>, unary<LogicalNot, int64_t, bool>, unary<LogicalNot, bool>}},
    {"bitwise_not", 1, {nullptr, unary<BitNot, int64_t>, unary<BitNot, bool>}},
    {"cast:f32",
     1,
     {unary<Convert<float>, float>, unary<Convert<float>, int64_t, float>,
      unary<Convert<float>, bool, float>}},
    {"cast:bf16", 1, {unary<RoundToBf16, float>, nullptr, nullptr}},
    {"cast:f16", 1, {library<RoundToHalf>, nullptr, nullptr}},
    {"cast:f8e4m3fn", 1, {unary<RoundToFloat8<Float8E4M3FN>, float>, nullptr, nullptr}},
    {"cast:f8e5m2", 1, {unary<RoundToFloat8<Float8E5M2>, float>, nullptr, nullptr}},
    {"cast:i64",
     1,
     {unary<Convert<int64_t>, float, int64_t>, unary<Convert<int64_t>, int64_t>,
      unary<Convert<int64_t>, bool, int64_t>}},
    {"cast:i32",
     1,
     {unary<Narrow<int32_t>, float, int64_t>, unary<Narrow<int32_t>, int64_t>,
      unary<Narrow<int32_t>, bool, int64_t>}},
    {"cast:i16",
     1,
     {unary<Narrow<int16_t>, float, int64_t>, unary<Narrow<int16_t>, int64_t>,
      unary<Narrow<int16_t>, bool, int64_t>}},
    {"cast:i8",
     1,
     {unary<Narrow<int8_t>, float, int64_t>, unary<Narrow<int8_t>, int64_t>,
      unary<Narrow<int8_t>, bool, int64_t>}},
    {"cast:u8",
     1,
     {unary<Narrow<uint8_t>, float, int64_t>, unary<Narrow<uint8_t>, int64_t>,
      unary<Narrow<uint8_t>, bool, int64_t>}},
    {"cast:bool",
     1,
     {unary<Convert<bool>, float, bool>, unary<Convert<bool>, int64_t, bool>,
      unary<Convert<bool>, bool>}},
};

// The first source is the condition; x and y are promoted alone.
constexpr Maker kWhere[3] = {ternary<Where, bool, float>, ternary<Where, bool, int64_t>,
                             ternary<Where, bool>};

const Entry* find(std::string_view name) {
  const auto at = std::find_if(std::begin(kEntries), std::end(kEntries),
                               [&](const Entry& entry) { return entry.name == name; });
  return at == std::end(kEntries) ? nullptr : &*at;
}

// Lanes are numbered from the highest.
Lane highest(std::span<const Lane> lanes) { return *std::min_element(lanes.begin(), lanes.end()); }

}  // namespace

std::optional<std::vector<Lane>> tile_op_lanes(std::string_view name,
                                               std::span<const Lane> sources) {
  if (name == "where") {
    if (sources.size() != 3) return std::nullopt;
    const Lane lane = highest(sources.subspan(1));
    return std::vector<Lane>{Lane::Bool, lane, lane};
  }
  const Entry* const entry = find(name);
  if (entry == nullptr || entry->sources != sources.size()) return std::nullopt;
  for (int lane = static_cast<int>(highest(sources)); lane >= 0; --lane) {
    if (entry->make[lane] != nullptr) {
      return std::vector<Lane>(sources.size(), static_cast<Lane>(lane));
    }
  }
  return std::nullopt;
}

TileOp tile_op(std::string_view name, Lane lane, Isa isa) {
  if (name == "where") return kWhere[static_cast<int>(lane)](isa);
  return find(name)->make[static_cast<int>(lane)](isa);
}

}  // namespace regraft::cpu
