// What enters the outline of a graph, and what does not.
#include "lowering/outline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"

namespace regraft::lowering {
namespace {

using testing::Eq;
using testing::Ne;

std::vector<std::string> outline_of(std::string_view text) { return outline(*ir::parse(text)); }

constexpr std::string_view kWithSizes = R"(
parameters {
  @w: f32[6,6]
}
graph(%x: f32[4,6], %y: f32[4,6]) {
  %a = linear(%x, @w)
  %b = expand(%a) {dims=[4,6]}
  %c = add(%b, %y)
  %d = slice(%c) {dim=0, start=0, end=4}
  %e = softmax(%d) {dim=1}
  %f = reshape(%e) {dims=[2,12]}
  return %f
}
)";

constexpr std::string_view kPlain = R"(
parameters {
  @w: f32[6,6]
}
graph(%first: f32[s0,6], %second: f32[s0,6]) {
  %p = linear(%first, @w)
  %q = add(%p, %second)
  %r = softmax(%q) {dim=1}
  return %r
}
)";

std::string with(std::string text, std::string_view old, std::string_view by) {
  return text.replace(text.find(old), old.size(), by);
}

TEST(Outline, NamesOfValuesSizesAndViewsThatSayThemDoNotEnter) {
  EXPECT_THAT(outline_of(kWithSizes), Eq(outline_of(kPlain)));
  EXPECT_THAT(outline_of(kPlain).size(), Eq(4u));
}

TEST(Outline, EverythingElseDoes) {
  const auto outline = outline_of(kPlain);
  const std::string plain(kPlain);
  for (const std::string& other :
       {with(plain, "softmax(%q) {dim=1}", "softmax(%q) {dim=0}"),
        with(plain, "add(%p, %second)", "add(%second, %p)"),
        with(plain, "add(%p, %second)", "sub(%p, %second)"),
        with(plain, "linear(%first", "linear(%second"), with(plain, "return %r", "return %q"),
        with(with(plain, "@w", "@v"), "@w", "@v")}) {
    EXPECT_THAT(outline_of(other), Ne(outline)) << other;
  }
}

TEST(Outline, WhereASliceBeginsEnters) {
  const auto chunk = [](std::string_view start, std::string_view end) {
    return outline_of("graph(%x: f32[8,6]) {\n  %y = slice(%x) {dim=0, start=" +
                      std::string(start) + ", end=" + std::string(end) + "}\n  return %y\n}\n");
  };
  EXPECT_THAT(chunk("4", "8"), Ne(chunk("0", "4")));
  EXPECT_THAT(chunk("4", "8"), Eq(chunk("2", "4")));
}

}  // namespace
}  // namespace regraft::lowering
