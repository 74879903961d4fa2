#include "base/text.h"

#include <cmath>
#include <limits>
#include <locale>
#include <random>

#include <gtest/gtest.h>

namespace regraft::base {
namespace {

TEST(Text, CatAndJoin) {
  EXPECT_EQ(cat("want ", 3, ", have ", 2.5, 'x'), "want 3, have 2.5x");
  EXPECT_EQ(join({}, ","), "");
  EXPECT_EQ(join({"a"}, ","), "a");
  EXPECT_EQ(join({"a", "", "b"}, ", "), "a, , b");
}

// Of the application; here, digits are grouped.
TEST(Text, DoesNotDependOnTheLocale) {
  struct Grouping : std::numpunct<char> {
    std::string do_grouping() const override { return "\3"; }
    char do_thousands_sep() const override { return '.'; }
    char do_decimal_point() const override { return ','; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale(), new Grouping));
  const std::string number = cat(1234567, " ", 0.5), real = float_text(1234567.5);
  std::locale::global(before);
  EXPECT_EQ(number, "1234567 0.5");
  EXPECT_EQ(real, "1234567.5");
}

TEST(Nearest, FindsMisspellings) {
  const std::vector<std::string> names = {"encoder.q_proj.weight", "encoder.k_proj.weight",
                                          "encoder.q_proj.bias"};
  EXPECT_EQ(nearest("encoder.q_porj.weight", names), "encoder.q_proj.weight");
  EXPECT_EQ(nearest("encoder.k_proj.weigh", names), "encoder.k_proj.weight");
  EXPECT_EQ(nearest("encoder.q_proj.bias", names), "encoder.q_proj.bias");
  EXPECT_EQ(nearest("decoder", names), std::nullopt);
  EXPECT_EQ(nearest("x", {}), std::nullopt);
}

TEST(Nearest, StopsAtTheStatedDistance) {
  EXPECT_EQ(nearest("ab", {"cd"}), "cd");  // Distance 2: always near enough.
  EXPECT_EQ(nearest("abc", {"xyz"}), std::nullopt);
  EXPECT_EQ(nearest("abcdefghi", {"abcdefxyz"}), "abcdefxyz");  // 3 of 9.
  EXPECT_EQ(nearest("abcdefghi", {"abcdewxyz"}), std::nullopt);
  EXPECT_EQ(nearest("abc", {"abcdef", "abcd"}), "abcd");
}

TEST(Nearest, LongNamesCostNothing) {
  const std::string long_name(100'000, 'a');
  EXPECT_EQ(nearest(long_name, {long_name + "b"}), std::nullopt);
  EXPECT_EQ(nearest("a", {long_name}), std::nullopt);
}

// The definition of the edit distance, exponential in time.
size_t naive_distance(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.size() + b.size();
  const size_t change = a[0] == b[0] ? 0 : 1;
  return std::min({naive_distance(a.substr(1), b) + 1, naive_distance(a, b.substr(1)) + 1,
                   naive_distance(a.substr(1), b.substr(1)) + change});
}

TEST(Nearest, AgreesWithTheDefinition) {
  std::mt19937 random(1);
  const auto word = [&] {
    std::string out(random() % 7, 'a');
    for (char& c : out)
      c = static_cast<char>('a' + random() % 3);
    return out;
  };
  for (int round = 0; round < 500; ++round) {
    const std::string name = word();
    const std::vector<std::string> names = {word(), word(), word()};
    size_t best = SIZE_MAX;
    for (const std::string& candidate : names)
      best = std::min(best, naive_distance(name, candidate));
    const auto found = nearest(name, names);
    ASSERT_EQ(found.has_value(), best <= std::max<size_t>(2, name.size() / 3)) << name;
    if (found) {
      EXPECT_EQ(naive_distance(name, *found), best) << name << " " << *found;
    }
  }
}

TEST(FloatText, NeverReadsAsAnInteger) {
  EXPECT_EQ(float_text(1), "1.0");
  EXPECT_EQ(float_text(-0.0), "-0.0");
  EXPECT_EQ(float_text(1e-5), "1e-05");
  EXPECT_EQ(float_text(1e300), "1e+300");
  EXPECT_EQ(float_text(0.1), "0.1");
  EXPECT_EQ(float_text(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(float_text(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(float_text(std::nan("")), "nan");
}

TEST(FloatText, ReadsBackExactly) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 10'000; ++round) {
    const double value = std::bit_cast<double>(random());
    if (std::isnan(value)) continue;
    const std::string text = float_text(value);
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
    EXPECT_NE(text.find_first_of(".einf"), std::string::npos);
  }
}

}  // namespace
}  // namespace regraft::base
