// Every conformance case through the compiler and an engine, on every backend of the build.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regraft/compile.h"
#include "support/conformance.h"
#include "support/evaluator.h"

namespace regraft::test {
namespace {

// Relative L2 error allowed beyond rounding, by dtype.
const std::map<std::string, std::map<std::string, double>> kTolerance = {
    // Passes change the order of operations: folds, merged products.
    {"reference", {{"f32", 2e-6}}},
};

class Engines : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(Engines, MatchTheReference) {
  const auto& [backend, file] = GetParam();
  const std::string problem = device_problem(backend);
  if (!problem.empty()) GTEST_SKIP() << problem;
  const auto run = [&backend = backend](const PreparedCase& c) {
    return run_on_engine(backend, c);
  };
  const auto tolerance = kTolerance.find(backend);
  check_conformance(
      {backend, run,
       tolerance == kTolerance.end() ? std::map<std::string, double>{} : tolerance->second},
      file);
}

INSTANTIATE_TEST_SUITE_P(Cases, Engines,
                         testing::Combine(testing::ValuesIn(backends()),
                                          testing::ValuesIn(case_files())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param);
                         });

// Products of f32 in TF32: both operands have 10 bits of mantissa, sums are kept in f32.
class Tf32 : public testing::TestWithParam<std::string> {};

TEST_P(Tf32, MatchesTheReference) {
  const std::string problem = device_problem("cuda");
  if (!problem.empty()) GTEST_SKIP() << problem;
  compilation::Settings settings;
  settings.allow_tf32 = true;
  const auto run = [&](const PreparedCase& c) { return run_on_engine("cuda", c, settings); };
  check_conformance({"cuda", run, {{"f32", 2e-3}}}, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Cases, Tf32,
                         testing::Values("convolution", "linear", "matmul",
                                         "scaled_dot_product_attention"),
                         [](const auto& info) { return info.param; });

TEST(Conformance, EverySkipNamesACase) {
  for (const std::string& backend : backends()) {
    EXPECT_THAT(unused_skips(backend), testing::IsEmpty()) << backend;
  }
}

}  // namespace
}  // namespace regraft::test
