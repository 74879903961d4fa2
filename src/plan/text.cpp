#include "base/text.h"

#include <limits>

#include "plan/plan.h"

namespace regraft::plan {
namespace {

std::string symbol_line(const Symbol& symbol) {
  std::string line = base::cat("symbol ", symbol.name, ": ", symbol.min, "..");
  if (symbol.max != std::numeric_limits<int64_t>::max()) line += std::to_string(symbol.max);
  if (symbol.optimum != 0) line += base::cat(" optimum ", symbol.optimum);
  return line + "\n";
}

// The name that a buffer goes by: parameters, constants and ports by their own names.
std::string operand(const Plan& plan, int32_t buffer) {
  if (buffer < 0) return "none";
  const Storage& storage = plan.storage_of(buffer);
  std::string text;
  switch (storage.kind) {
    case StorageKind::Parameter:
      text = "@" + plan.parameters[storage.index].name;
      break;
    case StorageKind::Constant:
      text = "$" + plan.constants[storage.index].name;
      break;
    case StorageKind::Input:
      text = "%" + plan.inputs[storage.index].name;
      break;
    default: {
      const std::string& name = plan.buffers[buffer].name;
      text = "%" + (name.empty() ? std::to_string(buffer) : name);
    }
  }
  return base::cat(text, ":", plan.buffers[buffer].type.str());
}

std::string operands(const Plan& plan, const std::vector<int32_t>& buffers) {
  std::vector<std::string> parts;
  for (const int32_t buffer : buffers)
    parts.push_back(operand(plan, buffer));
  return base::join(parts, ", ");
}

std::string attributes_text(const Attributes& attributes) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : attributes.entries()) {
    parts.push_back(base::cat(key, "=", to_string(value)));
  }
  return parts.empty() ? "" : " {" + base::join(parts, ", ") + "}";
}

void append_steps(const Plan& plan, std::string_view title, const std::vector<Step>& steps,
                  std::string& out) {
  if (steps.empty()) return;
  out += base::cat(title, ":\n");
  for (const Step& step : steps) {
    out += base::cat("  ", operands(plan, step.outputs), " = ", step.kernel, "(",
                     operands(plan, step.inputs), ")", attributes_text(step.attributes),
                     step.in_place ? " in_place" : "",
                     step.origin.empty() ? "" : "  # " + step.origin, "\n");
  }
}

}  // namespace

std::string to_string(const Plan& plan) {
  std::string out = base::cat("plan ", plan.backend, "\n");
  for (const Symbol& symbol : plan.symbols)
    out += symbol_line(symbol);
  for (const SizeGuard& guard : plan.guards)
    out += base::cat("guard ", guard.str(), "\n");
  for (const Port& port : plan.inputs) {
    out += base::cat("input ", port.name, ": ", plan.buffers[port.buffer].type.str(), "\n");
  }
  for (const Parameter& parameter : plan.parameters) {
    out +=
        base::cat("parameter ", parameter.name, ": ", plan.buffers[parameter.buffer].type.str(),
                  parameter.aliases.empty() ? "" : " = " + base::join(parameter.aliases, " = "),
                  parameter.index_bound < 0 ? "" : base::cat(" in 0..", parameter.index_bound - 1),
                  parameter.optional ? " optional" : "", "\n");
  }
  append_steps(plan, "weight steps", plan.weight_steps, out);
  for (const Constant& constant : plan.constants) {
    out += base::cat("constant ", constant.name, ": ", plan.buffers[constant.buffer].type.str(),
                     " = ", operand(plan, constant.source), "\n");
  }
  append_steps(plan, "shape steps", plan.shape_steps, out);
  append_steps(plan, "compute steps", plan.compute_steps, out);
  for (const Port& port : plan.outputs) {
    out += base::cat("output ", port.name, ": ", operand(plan, port.buffer), "\n");
  }
  return out;
}

}  // namespace regraft::plan
