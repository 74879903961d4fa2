#include <variant>

#include "cli/commands.h"
#include "cli/json_writer.h"
#include "cli/texts.h"
#include "regraft/compile.h"
#include "regraft/error.h"

namespace regraft::cli {
namespace {

// The segments, or why the program cannot be split.
std::variant<PartitionInfo, std::string> split(const Program& program,
                                               const CompileOptions& options) {
  try {
    return partition(program, options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    return error.what();
  }
}

std::string runner(const SegmentInfo& segment) {
  return segment.backend.empty() ? "PyTorch" : segment.backend;
}

std::string counted(size_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string segments_text(const PartitionInfo& partition) {
  std::string out = counted(partition.segments.size(), "segment") + "\n";
  for (size_t i = 0; i < partition.segments.size(); ++i) {
    const SegmentInfo& segment = partition.segments[i];
    out += "  " + std::to_string(i) + " " + runner(segment) + ": " +
           counted(segment.nodes.size(), "node") + "\n";
  }
  return out;
}

void add_segments(JsonWriter& json, const PartitionInfo& partition) {
  json.member("whole", partition.is_whole).key("segments").begin_array();
  for (const SegmentInfo& segment : partition.segments) {
    json.begin_object().member("runs", runner(segment)).member("nodes", segment.nodes.size());
    json.member("outputs", segment.outputs).member("parameters", segment.parameters).end_object();
  }
  json.end_array();
}

}  // namespace

void explain(const ExplainArguments& arguments, const CommonArguments& common) {
  const CompileOptions options = to_options(arguments.compiler);
  const Program program = Program::read(arguments.compiler.program);
  const std::string text = regraft::explain(program, options);
  const std::variant<PartitionInfo, std::string> parts = split(program, options);
  const auto* partition = std::get_if<PartitionInfo>(&parts);
  if (!common.json) {
    return print((partition != nullptr ? segments_text(*partition)
                                       : "no segments: " + std::get<std::string>(parts) + "\n") +
                 text);
  }
  JsonWriter json;
  json.begin_object().member("text", text);
  if (partition != nullptr) {
    add_segments(json, *partition);
  } else {
    json.member("unsplit", std::get<std::string>(parts));
  }
  print(json.end_object().text());
}

}  // namespace regraft::cli
