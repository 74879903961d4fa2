#include "partitioning/partition_program.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/text.h"
#include "partitioning/partition.h"
#include "partitioning/size_inputs.h"
#include "partitioning/survey_items.h"
#include "program/names.h"

namespace regraft::partitioning {
namespace {

using program::Name;

class Partitioner {
 public:
  Partitioner(const Program& program, const compilation::CompileBackend& backend,
              const PartitionOptions& rules)
      : exported_(program.impl().exported),
        program_(program),
        rules_(rules),
        survey_(survey_items(program, backend, rules)) {
    out_.backend = backend.name();
    out_.nodes = survey_.nodes.size();
  }

  PartitionInfo run() {
    const auto is_taken = [](const SurveyedNode& node) { return node.refusal.empty(); };
    out_.is_whole = rules_.min_block_size <= 1 &&
                    std::all_of(survey_.nodes.begin(), survey_.nodes.end(), is_taken);
    do {
      levels_ = assign_levels(survey_.items);
    } while ((!out_.is_whole && demote_small()) || !make_segments());
    out_.is_whole =
        out_.is_whole || (out_.segments.size() == 1 &&
                          std::all_of(survey_.nodes.begin(), survey_.nodes.end(), is_taken));
    add_outputs();
    add_refusals();
    return std::move(out_);
  }

 private:
  void demote(int level, const std::string& reason) {
    for (size_t i = 0; i < survey_.items.size(); ++i) {
      if (levels_.of[i] != level || survey_.nodes[i].is_number) continue;
      survey_.items[i].side = Side::Outside;
      survey_.items[i].counts = false;
      if (survey_.nodes[i].refusal.empty()) survey_.nodes[i].refusal = reason;
    }
  }

  // Takes the smallest engine that is too small apart. One at a time: its neighbours change.
  bool demote_small() {
    std::map<int, int64_t> work;
    for (size_t i = 0; i < survey_.items.size(); ++i) {
      const int level = levels_.of[i];
      if (level >= 0 && levels_.is_engine(level)) work[level] += survey_.items[i].counts ? 1 : 0;
    }
    const auto smallest = std::min_element(
        work.begin(), work.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (smallest == work.end() || smallest->second >= rules_.min_block_size) return false;
    demote(smallest->first,
           smallest->second == 0
               ? "only views, between nodes that run outside"
               : base::cat("its engine would have ", smallest->second,
                           " nodes, fewer than min_block_size ", rules_.min_block_size));
    return true;
  }

  // False when a segment could not be an engine after all and was demoted.
  bool make_segments() {
    out_.segments.clear();
    levels_of_segments_.clear();
    std::map<int, std::vector<size_t>> by_level;
    for (size_t i = 0; i < survey_.items.size(); ++i) {
      if (levels_.of[i] >= 0) by_level[levels_.of[i]].push_back(i);
    }
    for (const auto& [level, members] : by_level) {
      SegmentInfo segment;
      segment.backend = levels_.is_engine(level) ? out_.backend : "";
      const std::vector<bool> inside = with_floating(members, !segment.backend.empty());
      for (size_t i = 0; i < inside.size(); ++i) {
        if (inside[i]) segment.nodes.push_back(survey_.nodes[i].node->name);
      }
      if (!add_inputs(segment, inside, level)) return false;
      out_.segments.push_back(std::move(segment));
      levels_of_segments_.push_back(level);
    }
    return true;
  }

  // The members and what floats into them. An engine gets numbers from the sizes of its inputs.
  std::vector<bool> with_floating(const std::vector<size_t>& members, bool is_engine) const {
    std::vector<bool> inside(survey_.items.size(), false);
    for (const size_t member : members)
      inside[member] = true;
    for (size_t i = inside.size(); i-- > 0;) {
      if (!inside[i]) continue;
      for (const size_t read : survey_.items[i].reads) {
        const bool skips = is_engine && survey_.nodes[read].is_number;
        if (survey_.items[read].floats && !skips) inside[read] = true;
      }
    }
    return inside;
  }

  bool add_inputs(SegmentInfo& segment, const std::vector<bool>& inside, int level) {
    const bool is_engine = !segment.backend.empty();
    std::set<std::string> seen, parameters, numbers;
    for (size_t i = 0; i < inside.size(); ++i) {
      if (!inside[i]) continue;
      for (const Name& name : program::names_read(*survey_.nodes[i].node)) {
        const auto producer = survey_.producers.find(name.text);
        if (producer != survey_.producers.end() && inside[producer->second]) continue;
        if (!seen.insert(name.text).second) continue;
        if (const std::string* parameter = parameter_of(name.text)) {
          if (parameters.insert(*parameter).second) segment.parameters.push_back(*parameter);
        } else if (is_engine && name.is_number) {
          numbers.insert(name.text);
        } else {
          segment.inputs.push_back({name.text, -1});
        }
      }
    }
    if (!is_engine) return true;
    const auto lacking = add_size_inputs(exported_, numbers, available(level), segment.inputs);
    if (!lacking) return true;
    demote(level, "no tensor before it has the size " + *lacking);
    return false;
  }

  // Tensors that exist before a level runs: the program's inputs, then results.
  std::vector<std::string> available(int level) const {
    std::vector<std::string> names;
    for (const ProgramTensor& input : program_.inputs())
      names.push_back(input.name);
    for (size_t i = 0; i < survey_.nodes.size(); ++i) {
      if (survey_.items[i].floats || levels_.of[i] >= level) continue;
      for (const Name& name : program::names_made(*survey_.nodes[i].node))
        if (!name.is_number) names.push_back(name.text);
    }
    return names;
  }

  const std::string* parameter_of(const std::string& argument) const {
    for (const program::InputSpec& spec : exported_.inputs) {
      if (spec.argument != argument || spec.target.empty()) continue;
      const auto known = program_.impl().parameter_by_name.find(spec.target);
      if (known == program_.impl().parameter_by_name.end()) return nullptr;
      return &program_.impl().parameters[known->second].name;
    }
    return nullptr;
  }

  void add_outputs() {
    std::set<std::string, std::less<>> read = survey_.outputs;
    for (const SegmentInfo& segment : out_.segments) {
      for (const SegmentInput& input : segment.inputs)
        read.insert(input.name);
    }
    for (size_t s = 0; s < out_.segments.size(); ++s) {
      for (size_t i = 0; i < survey_.nodes.size(); ++i) {
        if (levels_.of[i] != levels_of_segments_[s]) continue;
        for (const Name& name : program::names_made(*survey_.nodes[i].node)) {
          if (read.contains(name.text)) out_.segments[s].outputs.push_back(name.text);
        }
      }
    }
  }

  void add_refusals() {
    for (const SurveyedNode& entry : survey_.nodes) {
      if (entry.refusal.empty()) continue;
      constexpr std::string_view kPrefix = "torch.ops.";
      std::string op = entry.node->target;
      if (op.starts_with(kPrefix)) op.erase(0, kPrefix.size());
      const ir::Origin origin{entry.node->name, entry.node->module_path, entry.node->source_line};
      out_.refusals.push_back({entry.node->name, std::move(op), place_of(origin), entry.refusal});
    }
  }

  const program::ExportedProgram& exported_;
  const Program& program_;
  const PartitionOptions& rules_;
  Survey survey_;
  Levels levels_;
  std::vector<int> levels_of_segments_;
  PartitionInfo out_;
};

}  // namespace

PartitionInfo partition_program(const Program& program, const compilation::CompileBackend& backend,
                                const PartitionOptions& rules) {
  return Partitioner(program, backend, rules).run();
}

}  // namespace regraft::partitioning
