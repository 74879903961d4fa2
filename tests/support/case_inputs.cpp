#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/fail.h"
#include "base/hash.h"
#include "support/case_file.h"
#include "tensor/convert.h"

namespace regraft::test {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): the standard library's distributions differ by platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In (0, 1).
  double unit() { return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52; }
  double normal() { return std::sqrt(-2 * std::log(unit())) * std::cos(2 * M_PI * unit()); }

 private:
  uint64_t state_;
};

const std::set<std::string> kFills = {"normal", "uniform", "ints", "bools", "values", "distinct"};

InputWord default_fill(DType dtype) {
  if (dtype == DType::Bool) return {"bools", {}};
  if (dtype == DType::U8) return {"ints", {0, 9}};
  return is_integral(dtype) ? InputWord{"ints", {-5, 6}} : InputWord{"normal", {}};
}

// 0 .. count-1 in a random order.
std::vector<double> shuffled(size_t count, Random& random) {
  std::vector<double> out(count);
  std::iota(out.begin(), out.end(), 0.0);
  for (size_t i = count; i > 1; --i)
    std::swap(out[i - 1], out[random.next() % i]);
  return out;
}

std::vector<double> numbers(const InputWord& fill, size_t count, Random& random) {
  const std::vector<double>& a = fill.arguments;
  if (fill.name == "distinct") return shuffled(count, random);
  std::vector<double> out(count);
  for (size_t i = 0; i < count; ++i) {
    if (fill.name == "normal") {
      out[i] = random.normal();
    } else if (fill.name == "uniform") {
      out[i] = a.at(0) + (a.at(1) - a.at(0)) * random.unit();
    } else if (fill.name == "ints") {
      out[i] = std::floor(a.at(0) + (a.at(1) - a.at(0)) * random.unit());
    } else if (fill.name == "bools") {
      out[i] = static_cast<double>(random.next() & 1);
    } else {
      out[i] = a.at(i % a.size());
    }
  }
  return out;
}

// Strides (in elements) of a tensor stored as the words say, and the elements that it spans.
//   permuted(2,0,1): its axes from the outermost in memory to the innermost
//   expanded(0):     stride 0 along these axes
//   spaced(3):       that many times the distance between all elements
std::pair<Dims, int64_t> layout(const Dims& dims, const std::vector<InputWord>& words) {
  std::vector<size_t> order(dims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::set<size_t> expanded;
  int64_t step = 1;
  for (const InputWord& word : words) {
    if (word.name == "permuted") order.assign(word.arguments.begin(), word.arguments.end());
    if (word.name == "expanded") expanded.insert(word.arguments.begin(), word.arguments.end());
    if (word.name == "spaced") step = static_cast<int64_t>(word.arguments.at(0));
  }
  if (!std::is_permutation(order.begin(), order.end(),
                           std::vector<size_t>([&] {
                             std::vector<size_t> all(dims.size());
                             std::iota(all.begin(), all.end(), size_t{0});
                             return all;
                           }())
                               .begin())) {
    base::fail("conformance", ErrorCode::InvalidArgument, "permuted() does not fit ",
               to_string(dims));
  }
  Dims strides(dims.size(), 0);
  for (size_t i = order.size(); i-- > 0;) {
    if (expanded.count(order[i]) != 0) continue;
    strides[order[i]] = step;
    step *= std::max<int64_t>(dims[order[i]], 1);
  }
  return {strides, step};
}

StoredTensor make_input(const std::vector<InputWord>& words, DType dtype, const Dims& dims,
                        uint64_t seed) {
  InputWord fill = default_fill(dtype);
  for (const InputWord& word : words) {
    if (kFills.count(word.name) != 0) {
      fill = word;
    } else if (word.name != "permuted" && word.name != "expanded" && word.name != "spaced") {
      base::fail("conformance", ErrorCode::InvalidArgument, "unknown input word '", word.name, "'");
    }
  }
  const auto placed = layout(dims, words);
  const Dims& strides = placed.first;
  const int64_t span = placed.second;
  StoredTensor out;
  out.memory = Tensor(dtype, {span});
  out.view = TensorView(out.memory.view().data, dtype, dims, strides);
  Random random(seed);
  const bool is_pair = is_complex(dtype);
  const auto count = static_cast<size_t>(numel(dims));
  const std::vector<double> values = numbers(fill, is_pair ? 2 * count : count, random);
  visit(dtype, [&](auto tag) {
    using T = decltype(tag);
    T* data = out.memory.mutable_view().as_mutable<T>();
    std::fill_n(data, span, T{});
    for (size_t i = 0; i < count; ++i) {
      int64_t rest = static_cast<int64_t>(i), offset = 0;
      for (size_t axis = dims.size(); axis-- > 0; rest /= dims[axis]) {
        offset += rest % dims[axis] * strides[axis];
      }
      if constexpr (kIsComplex<T>) {
        data[offset] = convert<T>(std::complex<double>(values[2 * i], values[2 * i + 1]));
      } else {
        data[offset] = convert<T>(values[i]);
      }
    }
  });
  return out;
}

}  // namespace

std::vector<StoredTensor> make_inputs(const Case& c, const ir::Graph& graph) {
  std::vector<StoredTensor> out;
  for (const auto& [name, words] : c.inputs) {
    if (graph.find(name) == nullptr) {
      base::fail("conformance", ErrorCode::InvalidArgument, c.name, ": no input '", name, "'");
    }
  }
  for (const ir::Value* input : graph.inputs()) {
    const std::string key = c.name + ":" + input->name();
    const auto words = c.inputs.find(input->name());
    out.push_back(make_input(words == c.inputs.end() ? std::vector<InputWord>{} : words->second,
                             input->dtype(), eval(input->dims(), c.sizes),
                             base::hash64(key.data(), key.size())));
  }
  return out;
}

}  // namespace regraft::test
