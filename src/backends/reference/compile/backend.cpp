#include "backends/reference/compile/backend.h"

#include "compilation/emit.h"

namespace regraft::reference {
namespace {

using compilation::Settings;
using compilation::Support;

class Backend final : public compilation::CompileBackend {
 public:
  std::string_view name() const override { return "reference"; }

  Support supports(const ir::Node& node) const override {
    if (node.op().is_opaque()) return Support::no("not an op of the catalogue");
    return Support::supported();
  }

  plan::Plan compile(ir::Graph& graph, const Settings&) const override {
    return compilation::emit(graph, {.backend = "reference"});
  }
};

}  // namespace

const compilation::CompileBackend& compile_backend() {
  static const Backend backend;
  return backend;
}

}  // namespace regraft::reference
