// Every kernel of the backend compiles for the GPUs that it is made for; no GPU is needed.
#include <set>

#include <gtest/gtest.h>

#include "backends/cuda/compile/backend.h"
#include "backends/cuda/run/backend.h"
#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/cuda_device.h"
#include "compilation/pipeline.h"
#include "engine/shaped.h"
#include "support/conformance.h"

namespace regraft::cuda {
namespace {

using test::Case;
using test::Feed;

plan::Plan plan_of(const test::PreparedCase& c) {
  const auto graph = c.graph->clone();
  const compilation::Settings settings;
  compilation::optimise(*graph, settings);
  return compile_backend().compile(*graph, settings);
}

SymbolValues sizes_of(const plan::Plan& plan, const test::PreparedCase& c) {
  std::vector<Dims> dims;
  for (const TensorView& input : c.inputs)
    dims.push_back(input.dims);
  return plan::solve_symbols(plan, dims);
}

// Prepares every step; only libraries, which are not here, may be missing.
void compile_steps(const Case& c, CudaDevice& device) {
  const auto prepared = test::prepare_case(c, Feed::Inputs);
  const plan::Plan plan = plan_of(*prepared);
  const engine::Shaped shaped = engine::shape_all(plan, sizes_of(plan, *prepared), device);
  for (const auto* steps : {&plan.shape_steps, &plan.compute_steps}) {
    for (const plan::Step& step : *steps) {
      try {
        engine::prepare(engine::request_of(plan, step, shaped));
      } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_EQ(text.find("does not compile"), std::string::npos) << c.name << ": " << text;
      }
    }
  }
}

class Kernels : public testing::TestWithParam<std::string> {};

// Dtypes differ in conversions only, which one wide and one narrow type go through.
TEST_P(Kernels, Compile) {
  ASSERT_NO_THROW(compiler_version()) << "tools/setup installs NVRTC with PyTorch";
  static CudaDevice device("sm_90");
  const char* all = std::getenv("REGRAFT_COMPILE_ALL");
  std::set<std::string> done;
  for (const Case& c : test::load_cases(GetParam())) {
    if (all == nullptr && !c.dtype.empty() && c.dtype != "f32" && c.dtype != "bf16") continue;
    const std::string name = c.name.substr(0, c.name.find_last_of("/ "));
    if (all == nullptr && !done.insert(name + c.dtype).second) continue;
    try {
      compile_steps(c, device);
    } catch (const Error& error) {
      ADD_FAILURE() << c.name << ": " << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Kernels, testing::ValuesIn(test::case_files()),
                         [](const auto& info) { return info.param; });

TEST(Compiler, SaysWhatIsWrong) {
  try {
    compile_cubin("extern \"C\" __global__ void run() { wrong; }", "sm_90");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("does not compile for sm_90"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("wrong"), std::string::npos);
  }
}

TEST(Compiler, ServesTheOldestArchitecture) {
  EXPECT_FALSE(
      compile_cubin(std::string(kernel_source("prelude")) + "extern \"C\" __global__ void run() {}",
                    "sm_80")
          .empty());
}

}  // namespace
}  // namespace regraft::cuda
