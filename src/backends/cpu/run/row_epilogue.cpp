#include "backends/cpu/run/row_epilogue.h"

#include <algorithm>

#include "backends/cpu/run/pointwise_math.h"

namespace regraft::cpu {
namespace {

// Ops with the numbers of their item.
template <typename Op>
struct Plain {
  REGRAFT_INLINE static float at(float x, float, float) { return Op::at(x); }
};
template <typename Op>
struct OneNumber {
  REGRAFT_INLINE static float at(float x, float a, float) { return Op::at(x, a); }
};
struct Clip {
  REGRAFT_INLINE static float at(float x, float a, float b) { return Clamp::at(x, a, b); }
};
struct Linear {
  REGRAFT_INLINE static float at(float x, float a, float b) { return x * a + b; }
};

template <typename Op>
struct Unary {
  REGRAFT_INLINE static void run(float* values, int64_t count, const float* numbers, const void*) {
    const float a = numbers[0], b = numbers[1];
    for (int64_t i = 0; i < count; ++i)
      values[i] = Op::at(values[i], a, b);
  }
};

template <typename Op, typename T>
struct Binary {
  REGRAFT_INLINE static void run(float* values, int64_t count, const float*, const void* operand) {
    const T* const other = static_cast<const T*>(operand);
    for (int64_t i = 0; i < count; ++i)
      values[i] = Op::at(values[i], load_float(other[i]));
  }
};

using Function = void (*)(float*, int64_t, const float*, const void*);

template <typename Body>
Function version() {
  return select<Body, float*, int64_t, const float*, const void*>(isa());
}
template <typename Op>
Function unary(DType) {
  return version<Unary<Op>>();
}
template <typename Op>
Function binary(DType type) {
  return type == DType::F32 ? version<Binary<Op, float>>() : version<Binary<Op, BFloat16>>();
}

struct Entry {
  std::string_view name;
  Function (*make)(DType operand);
};
constexpr Entry kEntries[] = {
    {"relu", unary<Plain<Relu>>},
    {"leaky_relu", unary<OneNumber<LeakyRelu>>},
    {"clip", unary<Clip>},
    {"gelu", unary<Plain<Gelu>>},
    {"gelu_tanh", unary<Plain<GeluTanh>>},
    {"silu", unary<Plain<Silu>>},
    {"sigmoid", unary<Plain<Sigmoid>>},
    {"hardswish", unary<Plain<Hardswish>>},
    {"hardsigmoid", unary<Plain<Hardsigmoid>>},
    {"tanh", unary<Plain<Tanh>>},
    {"elu", unary<OneNumber<Elu>>},
    {"mish", unary<Plain<Mish>>},
    {"abs", unary<Plain<Abs>>},
    {"square", unary<Plain<Square>>},
    {"linear", unary<Linear>},
    {"add", binary<Add>},
    {"sub", binary<Sub>},
    {"mul", binary<Mul>},
    {"min", binary<Minimum>},
    {"max", binary<Maximum>},
};

template <typename T>
struct Store {
  REGRAFT_INLINE static void run(const float* values, void* target, int64_t count) {
    T* const to = static_cast<T*>(target);
    for (int64_t i = 0; i < count; ++i)
      store_float(to + i, values[i]);
  }
};

}  // namespace

RowEpilogue::RowEpilogue(const Epilogue& epilogue, std::span<const DType> operand_types) {
  size_t operand = 0;
  for (const EpilogueItem& item : epilogue) {
    const auto entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                    [&](const Entry& e) { return e.name == item.name; });
    Item out{nullptr, {0, 0}, -1};
    std::copy(item.numbers.begin(), item.numbers.end(), out.numbers.begin());
    DType type = DType::F32;
    if (item.is_binary()) {
      type = operand_types[operand];
      out.operand = static_cast<int>(operand++);
    }
    out.function = entry->make(type);
    items_.push_back(out);
  }
}

void RowEpilogue::apply(float* values, int64_t count, const Operands& operands) const {
  for (const Item& item : items_) {
    item.function(values, count, item.numbers.data(),
                  item.operand < 0 ? nullptr : operands[static_cast<size_t>(item.operand)]);
  }
}

StoreRow store_row_function(DType type) {
  return select_float<Store, const float*, void*, int64_t>(type);
}

}  // namespace regraft::cpu
