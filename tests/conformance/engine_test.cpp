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

TEST(Conformance, EverySkipNamesACase) {
  for (const std::string& backend : backends()) {
    EXPECT_THAT(unused_skips(backend), testing::IsEmpty()) << backend;
  }
}

}  // namespace
}  // namespace regraft::test
