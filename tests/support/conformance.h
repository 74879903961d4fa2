#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compilation/compile_backend.h"
#include "regraft/engine.h"
#include "support/case_file.h"

namespace regraft::test {

// Which inputs of a case become parameters, so that the op (or a constant that it packs) stands in
// the weight program.
enum class Feed { Inputs, FirstIsInput, Parameters };

// A case as a graph with its reference results.
struct PreparedCase {
  std::unique_ptr<ir::Graph> graph;
  std::vector<StoredTensor> memory;
  std::vector<TensorView> inputs;
  std::map<std::string, TensorView> parameters;
  std::vector<Tensor> want;
};
// Null where the feed makes no sense: too few inputs, or sizes of a parameter that are symbolic.
std::unique_ptr<PreparedCase> prepare_case(const Case& c, Feed feed);

// Computes a graph's outputs with the backend under test.
using RunGraph = std::function<std::vector<Tensor>(const PreparedCase& c)>;

// Compiles the graph for a backend of this build and makes an engine of it.
Engine make_engine(const std::string& backend, const PreparedCase& c,
                   const compilation::Settings& settings = {});

// The results of that engine.
std::vector<Tensor> run_on_engine(const std::string& backend, const PreparedCase& c,
                                  const compilation::Settings& settings = {});

struct BackendUnderTest {
  std::string name;
  RunGraph run;
  // Relative L2 error by dtype, where rounding alone does not explain what the backend does.
  std::map<std::string, double> tolerance;
};

// Runs every case of tests/conformance/cases/<file>.cases with every feed on the backend and
// compares with the reference. Records the numbers of runs and of skips as test properties. A case
// may be skipped by a line "<case name, * for anything>: <reason>" of
// tests/conformance/skips/<backend>.txt; a skip of a case that passes is an error.
void check_conformance(const BackendUnderTest& backend, const std::string& file);

// Lines of the backend's skip file that name no case at all.
std::vector<std::string> unused_skips(const std::string& backend);

}  // namespace regraft::test
