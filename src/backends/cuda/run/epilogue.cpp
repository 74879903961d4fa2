#include "backends/cuda/run/epilogue.h"

#include <algorithm>

#include "backends/cuda/run/pointwise.h"

namespace regraft::cuda {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(separator));
    parts.emplace_back(part);
    text.remove_prefix(std::min(text.size(), part.size() + 1));
  }
  return parts;
}

constexpr std::string_view kBinary[] = {"add", "sub", "mul", "min", "max"};

// The instructions of an item on `value`; gives the text of the result.
std::string append(const EpilogueItem& item, const std::string& value, const std::string& operand,
                   std::vector<std::string>& lines) {
  const auto emit = [&](const std::string& line) {
    lines.push_back(line);
    return base::cat("r", lines.size() - 1);
  };
  if (item.name == "linear") {
    const std::string scaled = emit(base::cat("mul ", value, " ", item.numbers.at(0)));
    return emit(base::cat("add ", scaled, " ", item.numbers.at(1)));
  }
  std::string op = item.name;
  if (op == "min") op = "minimum";
  if (op == "max") op = "maximum";
  if (op == "clip") op = "clamp";
  std::string line = base::cat(op, " ", value);
  if (item.is_binary()) line += " " + operand;
  for (const std::string& number : item.numbers)
    line += " " + number;
  return emit(line);
}

}  // namespace

bool EpilogueItem::is_binary() const {
  return std::find(std::begin(kBinary), std::end(kBinary), name) != std::end(kBinary);
}

Epilogue epilogue_of(const KernelRequest& request) {
  Epilogue out;
  if (request.attributes.is_none("epilogue")) return out;
  for (const std::string& item : split(request.attributes.text("epilogue"), ',')) {
    std::vector<std::string> parts = split(item, ':');
    const std::string name = parts.front();
    parts.erase(parts.begin());
    out.push_back({name, std::move(parts)});
  }
  return out;
}

std::string epilogue_program(std::span<const EpilogueItem> items) {
  std::vector<std::string> lines;
  std::string value = "i0";
  for (const EpilogueItem& item : items)
    value = append(item, value, "", lines);
  return base::cat(base::join(lines, "; "), " -> ", value);
}

Launch make_epilogue(CudaDevice& device, const KernelRequest& request, const LaunchOperand& product,
                     const std::optional<LaunchOperand>& bias, std::span<const EpilogueItem> items,
                     size_t first_operand) {
  PointwiseSpec spec;
  spec.inputs = {product};
  spec.output = output_of(request, 0);
  std::vector<std::string> lines;
  std::string value = "i0";
  if (bias) {
    spec.inputs.push_back(*bias);
    lines.push_back("add i0 i1");
    value = "r0";
  }
  for (const EpilogueItem& item : items) {
    std::string operand;
    if (item.is_binary()) {
      operand = base::cat("i", spec.inputs.size());
      spec.inputs.push_back(broadcast_input(request, first_operand++));
    }
    value = append(item, value, operand, lines);
  }
  const std::string program = base::cat(base::join(lines, "; "), " -> ", value);
  spec.program = program;
  spec.moves = lines.empty() && product.dtype == spec.output.dtype;
  return make_pointwise(device, spec);
}

}  // namespace regraft::cuda
