// Reads the text form of a graph: bytes from anywhere give a graph or an Error, a graph prints as
// text that reads back the same, and the passes keep it valid.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "compilation/pipeline.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "regraft/error.h"

namespace {

// A hostile graph may be larger than any that passes were made for.
constexpr size_t kMostNodes = 200;

void optimise(regraft::ir::Graph& graph, regraft::compilation::Precision precision) {
  regraft::compilation::Settings settings;
  settings.precision = precision;
  try {
    regraft::compilation::optimise(graph, settings);
  } catch (const regraft::Error& error) {
    // Sizes that overflow are the text's fault; a broken invariant is ours.
    if (error.code() == regraft::ErrorCode::Internal) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::unique_ptr<regraft::ir::Graph> graph;
  try {
    graph = regraft::ir::parse({reinterpret_cast<const char*>(data), size});
  } catch (const regraft::Error&) {
    return 0;
  }
  const std::string text = regraft::ir::print(*graph);
  if (regraft::ir::print(*regraft::ir::parse(text)) != text) std::abort();
  try {
    regraft::ir::verify(*graph);
  } catch (const regraft::Error&) {
    return 0;  // Well-formed text of a graph that makes no sense, such as an unknown symbol.
  }
  if (graph->nodes().size() > kMostNodes) return 0;
  optimise(*graph->clone(), regraft::compilation::Precision::BF16);
  optimise(*graph, regraft::compilation::Precision::F32);
  return 0;
}
