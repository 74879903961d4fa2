#include "partitioning/survey_items.h"

#include <algorithm>

#include "base/fail.h"
#include "lowering/survey.h"
#include "lowering/symbolic.h"
#include "program/names.h"

namespace regraft::partitioning {
namespace {

using program::ExportedNode;
using program::Name;

// "aten.relu.default" of any of PyTorch's spellings.
std::string plain_op(std::string name) {
  for (const std::string_view prefix : {"torch.ops."}) {
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  }
  for (size_t at = name.find("::"); at != std::string::npos; at = name.find("::"))
    name.replace(at, 2, ".");
  return name;
}

class Excluded {
 public:
  explicit Excluded(const std::vector<std::string>& ops) {
    for (const std::string& op : ops)
      ops_.push_back(plain_op(op));
  }

  bool contains(const ExportedNode& node) const {
    const std::string target = plain_op(node.target);
    for (const std::string& op : ops_) {
      if (target == op || target.starts_with(op + ".")) return true;
    }
    return std::any_of(node.inputs.begin(), node.inputs.end(), [&](const auto& argument) {
      using Region = std::shared_ptr<const program::ExportedGraph>;
      const auto* region = std::get_if<Region>(&argument.value);
      return region != nullptr &&
             std::any_of((*region)->nodes.begin(), (*region)->nodes.end(),
                         [&](const ExportedNode& inner) { return contains(inner); });
    });
  }

 private:
  std::vector<std::string> ops_;
};

bool is_view(const ir::Node& node) {
  return node.is("reshape") || node.is("permute") || node.is("expand") || node.is("slice");
}

bool makes_numbers(const ExportedNode& node) {
  const std::vector<Name> made = program::names_made(node);
  const bool only_numbers =
      !made.empty() &&
      std::all_of(made.begin(), made.end(), [](const Name& name) { return name.is_number; });
  return only_numbers && (lowering::is_symbolic_target(node.target) ||
                          node.target.starts_with("torch.ops.aten.sym_"));
}

class Surveyor {
 public:
  Surveyor(const Program& program, const compilation::CompileBackend& backend,
           const PartitionOptions& rules)
      : program_(program), backend_(backend), excluded_(rules.excluded_ops) {}

  Survey run() {
    find_live();
    check_writes();
    lowering::survey(program_, [&](const lowering::Surveyed& surveyed) {
      if (live_.contains(&surveyed.node)) add(surveyed);
    });
    return std::move(out_);
  }

 private:
  const program::ExportedProgram& exported() const { return program_.impl().exported; }

  void find_live() {
    for (const program::OutputSpec& spec : exported().outputs) {
      if (spec.kind != program::OutputKind::User) continue;
      for (const Name& name : program::names_in(spec.value))
        out_.outputs.insert(name.text);
    }
    read_ = out_.outputs;
    const auto& nodes = exported().graph.nodes;
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
      const std::vector<Name> made = program::names_made(*node);
      if (std::none_of(made.begin(), made.end(),
                       [&](const Name& name) { return read_.contains(name.text); })) {
        continue;
      }
      live_.insert(&*node);
      for (const Name& name : program::names_read(*node))
        read_.insert(name.text);
    }
  }

  // As lowering says it of a whole program.
  void check_writes() const {
    for (const program::OutputSpec& spec : exported().outputs) {
      if (spec.kind == program::OutputKind::User) continue;
      bool is_read = spec.kind != program::OutputKind::BufferMutation;
      for (const program::InputSpec& input : exported().inputs)
        is_read = is_read || (input.target == spec.target && read_.contains(input.argument));
      if (!is_read) continue;
      base::fail("partitioning", ErrorCode::Unsupported, "the program changes ",
                 spec.kind == program::OutputKind::InputMutation ? "its input '" : "the buffer '",
                 spec.target, "'");
    }
  }

  void add(const lowering::Surveyed& surveyed) {
    SurveyedNode entry;
    entry.node = &surveyed.node;
    entry.is_number = makes_numbers(surveyed.node);
    for (const Name& name : program::names_made(surveyed.node)) {
      out_.producers.emplace(name.text, out_.nodes.size());
      entry.is_output = entry.is_output || out_.outputs.contains(name.text);
    }
    if (!entry.is_number || entry.is_output) entry.refusal = refusal_of(surveyed, entry);
    out_.items.push_back(item_of(surveyed, entry));
    out_.nodes.push_back(std::move(entry));
  }

  std::string refusal_of(const lowering::Surveyed& surveyed, const SurveyedNode& entry) const {
    if (excluded_.contains(surveyed.node)) return "kept out by torch_executed_ops";
    if (entry.is_number) return "the program returns the number it computes";
    if (!surveyed.reason.empty()) return std::string(surveyed.reason);
    for (const ir::Node* node : surveyed.made) {
      const compilation::Support support = backend_.supports(*node);
      if (!support.yes) return node->op().name + ": " + support.reason;
    }
    for (const Name& name : program::names_read(surveyed.node)) {
      if (!name.is_number) continue;
      const auto size = exported().graph.sizes.find(name.text);
      if (size == exported().graph.sizes.end() || !size->second) {
        return "reads the number '" + name.text + "', which is no size";
      }
    }
    for (const Name& name : program::names_made(surveyed.node)) {
      if (name.is_number) return "gives the number '" + name.text + "'";
    }
    return "";
  }

  Item item_of(const lowering::Surveyed& surveyed, const SurveyedNode& entry) const {
    Item item;
    item.side = !entry.refusal.empty()  ? Side::Outside
                : surveyed.made.empty() ? Side::Either
                                        : Side::Engine;
    item.floats = entry.refusal.empty() && !entry.is_output;
    for (const Name& name : program::names_read(surveyed.node)) {
      const auto producer = out_.producers.find(name.text);
      if (producer != out_.producers.end()) {
        item.reads.push_back(producer->second);
        item.floats = item.floats && (entry.is_number || out_.items[producer->second].floats);
      } else if (!name.is_number) {
        item.floats = item.floats && (entry.is_number || is_parameter(name.text));
      }
    }
    item.counts = item.side == Side::Engine && !item.floats &&
                  std::any_of(surveyed.made.begin(), surveyed.made.end(),
                              [](const ir::Node* node) { return !is_view(*node); });
    return item;
  }

  bool is_parameter(const std::string& name) const {
    return std::any_of(exported().inputs.begin(), exported().inputs.end(), [&](const auto& spec) {
      return spec.argument == name && !spec.target.empty();
    });
  }

  const Program& program_;
  const compilation::CompileBackend& backend_;
  const Excluded excluded_;
  Survey out_;
  std::set<std::string, std::less<>> read_;
  std::set<const ExportedNode*> live_;
};

}  // namespace

Survey survey_items(const Program& program, const compilation::CompileBackend& backend,
                    const PartitionOptions& rules) {
  return Surveyor(program, backend, rules).run();
}

}  // namespace regraft::partitioning
