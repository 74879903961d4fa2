// Runs every .irtest file of this folder (tests/support/irtest.h).
#include <gtest/gtest.h>

#include "ir/text.h"
#include "lowering/lower.h"
#include "support/irtest.h"

namespace regraft::lowering {
namespace {

class PassText : public testing::TestWithParam<std::string> {};

TEST_P(PassText, BecomesWhatTheFileSays) {
  const test::IrTest test = test::read_irtest(GetParam());
  const auto graph = ir::parse(test.before);
  for (const std::string& pass : test.passes)
    run_pass(pass, *graph);
  EXPECT_EQ(ir::print(*graph), ir::print(*ir::parse(test.after)));
}

INSTANTIATE_TEST_SUITE_P(Files, PassText, testing::ValuesIn(test::irtest_files("lowering")),
                         [](const auto& info) {
                           return test::irtest_name(info.param, "lowering");
                         });

TEST(Passes, UnknownNameListsTheKnown) {
  ir::Graph graph;
  EXPECT_THROW(run_pass("fuse-everything", graph), Error);
}

}  // namespace
}  // namespace regraft::lowering
