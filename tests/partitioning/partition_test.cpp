#include "partitioning/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compilation/hoist.h"
#include "ir/text.h"
#include "partitioning/refit_map.h"
#include "regraft/error.h"

namespace regraft::partitioning {
namespace {

using testing::HasSubstr;

// Takes everything but the ops it is told to refuse.
class Picky final : public compilation::CompileBackend {
 public:
  explicit Picky(std::vector<std::string> refused) : refused_(std::move(refused)) {}
  std::string_view name() const override { return "picky"; }
  compilation::Support supports(const ir::Node& node) const override {
    for (const std::string& op : refused_) {
      if (node.is(op)) return compilation::Support::no("no kernel for " + op);
    }
    return compilation::Support::supported();
  }
  plan::Plan compile(ir::Graph&, const compilation::Settings&) const override { return {}; }

 private:
  std::vector<std::string> refused_;
};

TEST(Partition, NothingIsRefusedWhereEverythingIsTaken) {
  const auto graph = ir::parse("graph(%x: f32[4]) { %a = relu(%x)\n %b = neg(%a)\n return %b }");
  EXPECT_NO_THROW(require_whole(partition(*graph, Picky({}))));
}

TEST(Partition, RefusalsNameOpCountAndPlace) {
  const auto graph = ir::parse(R"(
    graph(%x: f32[4]) {
      %a = sin(%x)
      %b = sin(%a)
      %c: f32[4] = aten.strange(%b)
      return %c
    })");
  graph->find("a")->producer()->set_origin({"sin_1", "encoder.0", "model.py:12"});
  const Partition out = partition(*graph, Picky({"sin", "aten.strange"}));
  try {
    require_whole(out);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    const std::string text = error.what();
    EXPECT_THAT(text, HasSubstr("cannot take 3 nodes"));
    EXPECT_THAT(text, HasSubstr("sin (2 nodes): no kernel for sin; first at encoder.0, "
                                "model.py:12 (node sin_1)"));
    EXPECT_THAT(text, HasSubstr("aten.strange (1 node)"));
  }
  EXPECT_THAT(explain(*graph, out), HasSubstr("takes 0 of 3 nodes"));
}

TEST(RefitMap, FollowsTheWeightProgram) {
  const auto graph = ir::parse(R"(
    parameters {
      @a: f32[4]
      @a2: f32[4] = @a
      @b: f32[4]
      @unused: f32[1]
    }
    graph(%x: f32[4]) {
      %s = rsqrt(@a)
      %w = mul(@b, %s)
      %y = mul(%x, %w)
      %z = add(%y, @b)
      return %z
    })");
  compilation::hoist(*graph, {});
  EXPECT_EQ(refit_map_text(*graph),
            "@a: f32[4] = @a2\n  -> $w through rsqrt, mul\n"
            "@b: f32[4]\n  -> as it is\n  -> $w through mul\n"
            "@unused: f32[1] feeds nothing\n");
}

}  // namespace
}  // namespace regraft::partitioning
