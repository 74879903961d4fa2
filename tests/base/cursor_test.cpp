#include "base/cursor.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace regraft::base {
namespace {

struct Wrong {
  size_t position;
};

struct Reader final : Cursor {
  explicit Reader(std::string_view text) : Cursor(text) {}
  [[noreturn]] void fail() const override { throw Wrong{position()}; }
};

// Where `read` fails.
template <typename F>
size_t failure(std::string_view text, F read) {
  Reader at(text);
  try {
    read(at);
  } catch (const Wrong& wrong) {
    return wrong.position;
  }
  ADD_FAILURE() << text << " was read";
  return std::string_view::npos;
}

TEST(Cursor, PassesTokensAndTheSpacesAroundThem) {
  Reader at("  conv2d( stride_1 ,-3 , 'a b' )  ");
  EXPECT_EQ(at.position(), 2u);
  EXPECT_EQ(at.word(), "conv2d");
  EXPECT_FALSE(at.take(")"));
  EXPECT_TRUE(at.take("("));
  EXPECT_EQ(at.peek(), 's');
  EXPECT_EQ(at.word(), "stride_1");
  at.expect(",");
  EXPECT_EQ(at.integer(), -3);
  at.expect(",");
  EXPECT_EQ(at.quoted(), "a b");
  EXPECT_FALSE(at.at_end());
  at.expect(")");
  EXPECT_TRUE(at.at_end());
  EXPECT_EQ(at.peek(), '\0');
  EXPECT_FALSE(at.take(")"));
}

TEST(Cursor, TakesTokensOfSeveralCharacters) {
  Reader at("a // b and c");
  at.word();
  EXPECT_FALSE(at.take("/ "));
  EXPECT_TRUE(at.take("//"));
  EXPECT_EQ(at.word(), "b");
  EXPECT_FALSE(at.take("and  "));
  EXPECT_TRUE(at.take("and "));
  EXPECT_FALSE(at.take("c "));
  EXPECT_EQ(at.word(), "c");
}

TEST(Cursor, TakesSpacesThatAreWanted) {
  Reader at("[1, 2] = 3");
  EXPECT_EQ(at.take_while([](char c) { return c != '='; }), "[1, 2] ");
  EXPECT_EQ(at.take_while([](char c) { return c == '*'; }), "");
  EXPECT_EQ(at.take_while([](char) { return true; }), "= 3");
  EXPECT_EQ(at.take_while([](char) { return true; }), "");
}

TEST(Cursor, GoesBackToACopy) {
  Reader at("axis(dim)");
  const Reader begin = at;
  at.word();
  at = begin;
  EXPECT_EQ(at.word(), "axis");
}

TEST(Cursor, FailsWhereTheTextIsWrong) {
  const auto word = [](Reader& at) { at.word(); };
  const auto integer = [](Reader& at) { at.integer(); };
  const auto quoted = [](Reader& at) { at.quoted(); };
  EXPECT_EQ(failure("", word), 0u);
  EXPECT_EQ(failure("  ", word), 2u);
  EXPECT_EQ(failure(" .a", word), 1u);
  EXPECT_EQ(failure("\xc3\xa9", word), 0u);
  EXPECT_EQ(failure("", integer), 0u);
  EXPECT_EQ(failure("-", integer), 0u);
  EXPECT_EQ(failure("+1", integer), 0u);
  EXPECT_EQ(failure("9223372036854775808", integer), 0u);
  EXPECT_EQ(failure("", quoted), 0u);
  EXPECT_EQ(failure("'", quoted), 0u);
  EXPECT_EQ(failure(" 'a\"", quoted), 1u);
  EXPECT_EQ(failure("a  b", [](Reader& at) { at.expect("a"), at.expect("c"); }), 3u);
  EXPECT_EQ(Reader("-9223372036854775808").integer(), std::numeric_limits<int64_t>::min());
}

// A zero byte is a character like any other, not the end.
TEST(Cursor, ZeroBytesAreNotTheEnd) {
  const std::string text("a\0", 2);
  Reader at(text);
  EXPECT_EQ(at.word(), "a");
  EXPECT_FALSE(at.at_end());
  EXPECT_EQ(at.peek(), '\0');
  EXPECT_FALSE(at.take("a"));
  EXPECT_TRUE(at.take(std::string_view("\0", 1)));
  EXPECT_TRUE(at.at_end());
}

}  // namespace
}  // namespace regraft::base
