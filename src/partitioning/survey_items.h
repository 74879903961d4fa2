#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "compilation/compile_backend.h"
#include "partitioning/levels.h"
#include "program/impl.h"
#include "regraft/compile.h"

namespace regraft::partitioning {

// A node of the exported graph that its outputs need.
struct SurveyedNode {
  const program::ExportedNode* node = nullptr;
  std::string refusal;     // Why no engine takes it; empty: one does.
  bool is_number = false;  // Computes numbers from numbers and sizes.
  bool is_output = false;
};

struct Survey {
  std::vector<SurveyedNode> nodes;
  std::vector<Item> items;                               // One for each of `nodes`.
  std::map<std::string, size_t, std::less<>> producers;  // Of tensors and numbers, by name.
  std::set<std::string, std::less<>> outputs;            // Of the program, by name.
};

// Asks lowering and backend about every node. Throws Error{"partitioning", Unsupported} for a
// program that changes what it was given.
Survey survey_items(const Program& program, const compilation::CompileBackend& backend,
                    const PartitionOptions& rules);

}  // namespace regraft::partitioning
