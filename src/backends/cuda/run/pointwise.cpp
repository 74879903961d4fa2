#include "backends/cuda/run/pointwise.h"

#include <algorithm>
#include <numeric>

#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {
namespace {

// How the operands of a launch lie: the output is operand 0. Axes are sorted by the output's
// strides; axes of size 1 are gone, neighbours that all operands walk evenly are merged.
struct Space {
  Dims dims;
  std::vector<Dims> strides;  // By operand.
  int64_t vector = 1;         // Elements that a thread handles at once, along the last axis.
  bool is_small = true;       // Offsets fit in 32 bits.
};

Space space_of(const PointwiseSpec& spec) {
  std::vector<const LaunchOperand*> operands = {&spec.output};
  for (const LaunchOperand& input : spec.inputs)
    operands.push_back(&input);
  const Dims& dims = spec.output.dims;
  std::vector<size_t> axes;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] != 1) axes.push_back(d);
  }
  std::stable_sort(axes.begin(), axes.end(), [&](size_t a, size_t b) {
    return spec.output.strides[a] > spec.output.strides[b];
  });
  Space space;
  space.strides.resize(operands.size());
  for (const size_t d : axes) {
    bool merges = !space.dims.empty();
    for (size_t k = 0; merges && k < operands.size(); ++k) {
      merges = space.strides[k].back() == operands[k]->strides[d] * dims[d];
    }
    if (merges) {
      space.dims.back() *= dims[d];
    } else {
      space.dims.push_back(dims[d]);
    }
    for (size_t k = 0; k < operands.size(); ++k) {
      if (merges) space.strides[k].pop_back();
      space.strides[k].push_back(operands[k]->strides[d]);
    }
  }
  if (space.dims.empty()) {
    space.dims = {1};
    for (Dims& strides : space.strides)
      strides = {0};
    space.strides[0] = {1};
  }
  // The widest vector that all operands allow: 16 bytes of the largest element.
  size_t largest = 1;
  for (const LaunchOperand* operand : operands)
    largest = std::max(largest, item_size(operand->dtype));
  int64_t vector = std::max<int64_t>(static_cast<int64_t>(16 / largest), 1);
  const size_t last = space.dims.size() - 1;
  const auto fits = [&](int64_t n) {
    if (space.dims[last] % n != 0) return false;
    for (size_t k = 0; k < operands.size(); ++k) {
      if (space.strides[k][last] == 0) continue;
      if (space.strides[k][last] != 1) return k != 0;
      if (operands[k]->alignment % (n * item_size(operands[k]->dtype)) != 0) return false;
      for (size_t d = 0; d < last; ++d) {
        if (space.strides[k][d] % n != 0) return false;
      }
    }
    return true;
  };
  while (vector > 1 && !fits(vector))
    vector /= 2;
  space.vector = vector;
  for (const Dims& strides : space.strides) {
    int64_t reach = 0;
    for (size_t d = 0; d < space.dims.size(); ++d)
      reach += (space.dims[d] - 1) * strides[d];
    space.is_small = space.is_small && reach < (int64_t{1} << 31);
  }
  space.is_small = space.is_small && numel(space.dims) < (int64_t{1} << 31);
  return space;
}

std::string_view take(std::string_view& rest, char end) {
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  const std::string_view word = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

// A source of an instruction as a C++ expression.
std::string expression(std::string_view word) {
  if (word == "true" || word == "false") return std::string(word);
  if (word[0] == 'i' && word.size() > 1 && word[1] >= '0' && word[1] <= '9') {
    return base::cat("value_of(x", word.substr(1), ")");
  }
  if (word[0] == 'r') return std::string(word);
  if (word == "inf") return "(real)REGRAFT_INF";
  if (word == "-inf") return "(-(real)REGRAFT_INF)";
  if (word == "nan") return "((real)REGRAFT_INF - (real)REGRAFT_INF)";
  if (word.find_first_not_of("-0123456789") != std::string_view::npos) {
    return base::cat("((real)", word, ")");
  }
  // The least number has no literal.
  if (word == "-9223372036854775808") return "(-9223372036854775807ll - 1)";
  return base::cat("((i64)", word, "ll)");
}

std::string statements(std::string_view program) {
  const size_t arrow = program.find("->");
  std::string_view body = program.substr(0, arrow), result = program.substr(arrow + 2);
  std::string text;
  size_t next = 0;
  while (body.find_first_not_of(' ') != std::string_view::npos) {
    std::string_view line = take(body, ';');
    std::string op(take(line, ' '));
    std::replace(op.begin(), op.end(), ':', '_');
    std::vector<std::string> sources;
    while (line.find_first_not_of(' ') != std::string_view::npos)
      sources.push_back(expression(take(line, ' ')));
    text += base::cat("      const auto r", next++, " = op_", op, "(", base::join(sources, ", "),
                      ");\n");
  }
  const std::string value = expression(take(result, ' '));
  return text + base::cat("      const auto result = ", value, ";\n");
}

std::string source_of(const PointwiseSpec& spec, const Space& space) {
  const size_t rank = space.dims.size(), inputs = spec.inputs.size();
  bool has_double = spec.output.dtype == DType::F64;
  std::string text(kernel_source("prelude"));
  text += kernel_source("pointwise_ops");
  const auto type = [&](const LaunchOperand& operand) {
    return spec.moves ? raw_name(operand.dtype) : std::string(type_name(operand.dtype));
  };
  text += base::cat("typedef ", type(spec.output), " TO;\n");
  for (size_t k = 0; k < inputs; ++k) {
    text += base::cat("typedef ", type(spec.inputs[k]), " T", k, ";\n");
    has_double = has_double || spec.inputs[k].dtype == DType::F64;
  }
  text += base::cat("typedef ", has_double ? "double" : "float", " real;\n");
  text += base::cat("typedef ", space.is_small ? "u32" : "u64", " index;\n");
  text += "struct Args {\n  TO* out;\n";
  for (size_t k = 0; k < inputs; ++k)
    text += base::cat("  const T", k, "* in", k, ";\n");
  text += base::cat("  i64 count, dims[", rank, "], strides[", inputs + 1, "][", rank, "];\n};\n");
  text +=
      "extern \"C\" __global__ void run(const __grid_constant__ Args a) {\n"
      "  const index step = (index)gridDim.x * blockDim.x;\n"
      "  for (index v = (index)blockIdx.x * blockDim.x + threadIdx.x; v < (index)a.count; v += "
      "step) {\n"
      "    index rest = v, target = 0;\n";
  for (size_t k = 0; k < inputs; ++k)
    text += base::cat("    index at", k, " = 0;\n");
  // dims[rank - 1] counts vectors.
  for (size_t d = rank; d-- > 0;) {
    const std::string position = d == 0 ? "rest" : base::cat("rest % (index)a.dims[", d, "]");
    const std::string scale =
        d + 1 == rank && space.vector > 1 ? base::cat(" * ", space.vector) : "";
    text += base::cat("    { const index p = (", position, ")", scale, ";\n");
    const auto add = [&](std::string_view name, size_t operand) {
      const int64_t stride = space.strides[operand][d];
      // Strides of 0 and 1 along the last axis are part of the code: they decide how it loads.
      if (d + 1 == rank && stride == 0) return;
      if (d + 1 == rank && stride == 1) {
        text += base::cat("      ", name, " += p;\n");
      } else {
        text += base::cat("      ", name, " += p * (index)a.strides[", operand, "][", d, "];\n");
      }
    };
    add("target", 0);
    for (size_t k = 0; k < inputs; ++k)
      add(base::cat("at", k), k + 1);
    text += "    }\n";
    if (d > 0) text += base::cat("    rest /= (index)a.dims[", d, "];\n");
  }
  const auto is_vector = [&](size_t operand) {
    return space.vector > 1 && space.strides[operand].back() == 1;
  };
  for (size_t k = 0; k < inputs; ++k) {
    if (is_vector(k + 1)) {
      text += base::cat("    const Pack<T", k, ", ", space.vector, "> pack", k, " = *(const Pack<T",
                        k, ", ", space.vector, ">*)(a.in", k, " + at", k, ");\n");
    } else if (space.strides[k + 1].back() == 0 || space.vector == 1) {
      text += base::cat("    const T", k, " one", k, " = a.in", k, "[at", k, "];\n");
    }
  }
  if (is_vector(0)) text += base::cat("    Pack<TO, ", space.vector, "> done;\n");
  text += base::cat("#pragma unroll\n    for (int j = 0; j < ", space.vector, "; ++j) {\n");
  for (size_t k = 0; k < inputs; ++k) {
    text += base::cat("      const T", k, " x", k, " = ");
    if (is_vector(k + 1)) {
      text += base::cat("pack", k, ".items[j];\n");
    } else if (space.strides[k + 1].back() == 0 || space.vector == 1) {
      text += base::cat("one", k, ";\n");
    } else {
      text += base::cat("a.in", k, "[at", k, " + j * (index)a.strides[", k + 1, "][", rank - 1,
                        "]];\n");
    }
  }
  text += statements(spec.program);
  const std::string value = spec.moves ? "result" : "to_element(result)";
  text += is_vector(0)        ? base::cat("      done.items[j] = ", value, ";\n")
          : space.vector == 1 ? base::cat("      a.out[target] = ", value, ";\n")
                              : base::cat("      a.out[target + j] = ", value, ";\n");
  text += "    }\n";
  if (is_vector(0)) {
    text += base::cat("    *(Pack<TO, ", space.vector, ">*)(a.out + target) = done;\n");
  }
  text += "  }\n}\n";
  return text;
}

}  // namespace

std::string pointwise_source(const PointwiseSpec& spec) { return source_of(spec, space_of(spec)); }

Launch make_pointwise(CudaDevice& device, const PointwiseSpec& spec) {
  if (numel(spec.output.dims) == 0) return {};
  const Space space = space_of(spec);
  const int64_t vectors = numel(space.dims) / space.vector;
  Launch::Words words;
  words.add(spec.output.place);
  for (const LaunchOperand& input : spec.inputs)
    words.add(input.place);
  words.add(vectors);
  for (size_t d = 0; d < space.dims.size(); ++d) {
    words.add(d + 1 == space.dims.size() ? space.dims[d] / space.vector : space.dims[d]);
  }
  for (const Dims& strides : space.strides) {
    for (const int64_t stride : strides)
      words.add(stride);
  }
  constexpr unsigned kThreads = 256;
  const int64_t most = int64_t{device.multiprocessors()} * 16;
  const auto blocks = std::clamp<int64_t>((vectors + kThreads - 1) / kThreads, 1, most);
  return {device.function(source_of(spec, space)), std::move(words), static_cast<unsigned>(blocks),
          kThreads};
}

LaunchOperand broadcast_input(const KernelRequest& request, size_t i) {
  LaunchOperand operand = input_of(request, i);
  const Dims& dims = request.outputs[0].dims;
  operand.strides = broadcast_strides(request.inputs[i], dims);
  operand.dims = dims;
  return operand;
}

}  // namespace regraft::cuda
