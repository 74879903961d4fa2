#include "tensor/sym_int.h"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "regraft/error.h"

namespace regraft {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

const SymInt s0 = SymInt::symbol("s0"), s1 = SymInt::symbol("s1");

ErrorCode code_of(const std::string& text) {
  try {
    SymInt::parse(text);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::Internal;
}

TEST(SymInt, PrintsACanonicalForm) {
  EXPECT_EQ((s0 * 16 + 1).str(), "s0*16+1");
  EXPECT_EQ((SymInt(1) + s0 * 16).str(), "s0*16+1");
  EXPECT_EQ((s1 * s0).str(), "s0*s1");
  EXPECT_EQ((s0 - s1).str(), "s0-s1");
  EXPECT_EQ((s1 * -2 - s0).str(), "-s0-2*s1");
  EXPECT_EQ((s0 - s0).str(), "0");
  EXPECT_EQ(((s0 + 1) * (s0 - 1)).str(), "s0*s0-1");
  EXPECT_EQ(floordiv(s0, 2).str(), "floordiv(s0,2)");
  EXPECT_EQ((max(s0, s1) * 3).str(), "max(s0,s1)*3");
  EXPECT_EQ(to_string(SymDims{s0, 3}), "[s0,3]");
  EXPECT_EQ(numel({s0, 3, s1, 2}).str(), "s0*s1*6");
  EXPECT_EQ(numel({}).str(), "1");
}

TEST(SymInt, ExactDivisionGivesTheQuotient) {
  EXPECT_EQ(floordiv(s0 * 768, 768), s0);
  EXPECT_EQ(floordiv(s0 * 12 * 64, s0), SymInt(768));
  EXPECT_EQ(floordiv(s0 * s1 * 768, s1 * 64), s0 * 12);
  EXPECT_EQ(floordiv(s0 * 768 + 768, 768), s0 + 1);
  EXPECT_EQ(floordiv((s0 + 1) * 768, s0 + 1), SymInt(768));
  EXPECT_EQ(floordiv((s0 + 1) * (s1 + s0 * 2) * 12, s1 * 3 + s0 * 6), s0 * 4 + 4);
  EXPECT_EQ(floordiv(s0, s0), SymInt(1));
  EXPECT_EQ(floordiv(0, s0), SymInt(0));
  EXPECT_EQ(floordiv(s0 * -6, -3), s0 * 2);
  EXPECT_EQ(floordiv(max(s0, s1) * 6, max(s0, s1)), SymInt(6));
  EXPECT_EQ(mod(s0 * 768, 64), SymInt(0));
  EXPECT_EQ(mod((s0 + 1) * s1, s0 + 1), SymInt(0));
}

TEST(SymInt, DivisionByAConstantTakesOutWhatItDivides) {
  EXPECT_EQ(floordiv(s0 * 32 - 1, 2) + 1, s0 * 16);
  EXPECT_EQ(floordiv(s0 * 4 + s1 + 5, 2).str(), "floordiv(s1+1,2)+s0*2+2");
  EXPECT_EQ(floordiv(s0 - 1, 2) + 1, floordiv(s0 + 1, 2));
  EXPECT_EQ(mod(s0 * 4 + 7, 4), SymInt(3));
  EXPECT_EQ(mod(s0 * 4 + s1 + 7, 4).str(), "mod(s1+3,4)");
  EXPECT_EQ(mod(s0 * 4 + 7, -4), SymInt(-1));
}

TEST(SymInt, OtherDivisionsStay) {
  EXPECT_EQ(floordiv(s0 * 3, 2).str(), "floordiv(s0*3,2)");
  EXPECT_EQ(floordiv(s0, s1).str(), "floordiv(s0,s1)");
  EXPECT_EQ(floordiv(768, s0).str(), "floordiv(768,s0)");
  EXPECT_EQ(floordiv(s0 * s0 + 1, s0 + 1).str(), "floordiv(s0*s0+1,s0+1)");
  EXPECT_EQ(mod(s0, 3).str(), "mod(s0,3)");
}

TEST(SymInt, MinAndMaxOfKnownOrder) {
  EXPECT_EQ(min(s0, s0), s0);
  EXPECT_EQ(min(s0 + 1, s0), s0);
  EXPECT_EQ(max(s0 + 1, s0), s0 + 1);
  EXPECT_EQ(min(SymInt(kMin), kMax), SymInt(kMin));
  EXPECT_EQ(max(SymInt(kMin), 5), SymInt(5));
  EXPECT_EQ(min(s0, kMax).str(), "min(s0,9223372036854775807)");
}

TEST(SymInt, DivisionAndRemainderRoundAsPython) {
  const int64_t expected[][4] = {
      {7, 2, 3, 1},      {-7, 2, -4, 1}, {7, -2, -4, -1}, {-7, -2, 3, -1},
      {6, 3, 2, 0},      {-6, 3, -2, 0}, {0, -3, 0, 0},   {kMin, 3, kMin / 3 - 1, 1},
      {kMin, 1, kMin, 0}};
  for (const auto& [a, b, quotient, remainder] : expected) {
    EXPECT_EQ(floordiv(SymInt(a), b), SymInt(quotient)) << a << " " << b;
    EXPECT_EQ(mod(SymInt(a), b), SymInt(remainder)) << a << " " << b;
  }
}

TEST(SymInt, ErrorsInsteadOfOverflow) {
  EXPECT_THROW(SymInt(kMax) + 1, Error);
  EXPECT_THROW(SymInt(kMin) - 1, Error);
  EXPECT_THROW(SymInt(kMin) * -1, Error);
  EXPECT_THROW(floordiv(SymInt(kMin), -1), Error);
  EXPECT_THROW(s0 * kMax * 2, Error);
  EXPECT_THROW(floordiv(s0 * kMin, -1), Error);
  EXPECT_THROW(floordiv(s0, 0), Error);
  EXPECT_THROW(mod(s0, 0), Error);
  EXPECT_THROW((s0 * s0).eval({{"s0", int64_t{1} << 40}}), Error);
  EXPECT_THROW(floordiv(s0, s1).eval({{"s0", 1}, {"s1", 0}}), Error);
  EXPECT_THROW(mod(s0, s1).eval({{"s0", 1}, {"s1", 0}}), Error);
  EXPECT_THROW(s0.eval({}), Error);
  EXPECT_THROW(s0.value(), Error);
}

TEST(SymInt, SymbolsAndSubstitution) {
  const SymInt x = max(s0, s1) * s0 + floordiv(s1, 2);
  std::set<std::string> symbols;
  x.collect_symbols(symbols);
  EXPECT_EQ(symbols, (std::set<std::string>{"s0", "s1"}));
  EXPECT_EQ(x.substitute({{"s1", s0}}), s0 * s0 + floordiv(s0, 2));
  EXPECT_EQ(x.substitute({{"s0", 3}, {"s1", 5}}), SymInt(17));
  EXPECT_EQ(x.substitute({{"s0", s1}, {"s1", s0}}), max(s1, s0) * s1 + floordiv(s0, 2));
  for (const char* name : {"", "0s", "s 0", "s0+1", "s\n", "s-"}) {
    EXPECT_THROW(SymInt::symbol(name), Error) << name;
  }
  EXPECT_EQ(SymInt::parse(SymInt::symbol("max").str()), SymInt::symbol("max"));
}

TEST(SymInt, ParsesWhatPeopleWrite) {
  EXPECT_EQ(SymInt::parse(" 2 * ( s0 + 3 ) - s1 // 2 "), s0 * 2 + 6 - floordiv(s1, 2));
  EXPECT_EQ(SymInt::parse("s0*16//4"), s0 * 4);
  EXPECT_EQ(SymInt::parse("--3"), SymInt(3));
  EXPECT_EQ(SymInt::parse("-s0 - -1"), SymInt(1) - s0);
  EXPECT_EQ(SymInt::parse("min(s0,max(s1,3))"), min(s0, max(s1, 3)));
  EXPECT_EQ(SymInt::parse("-9223372036854775808"), SymInt(kMin));
  EXPECT_EQ(SymInt::parse((s0 + kMin).str()), s0 + kMin);
  EXPECT_EQ(SymInt::parse((s0 + s1 * kMin).str()), s0 + s1 * kMin);
}

TEST(SymInt, RefusesOtherText) {
  for (const char* text :
       {"", " ", "s0 s1", "s0+", "+s0", "(s0", "s0)", "min(s0)", "min(s0,)", "1.5", "s0/2", "s0**2",
        "max(1,2", "1a", "$x", "s0%2", "f(s0)", "floordiv(1,0)"}) {
    EXPECT_EQ(code_of(text), ErrorCode::InvalidArgument) << text;
  }
  EXPECT_EQ(code_of("9223372036854775808"), ErrorCode::OutOfMemory);
}

TEST(SymInt, HostileTextIsCheap) {
  EXPECT_EQ(code_of(std::string(4000, '(')), ErrorCode::InvalidArgument);
  EXPECT_EQ(code_of(std::string(1'000'000, '-') + "1"), ErrorCode::InvalidArgument);
  EXPECT_EQ(code_of(std::string(4000, '-') + "1"), ErrorCode::Internal);
  std::string sum, product = "1", powers = "s0";
  for (int i = 0; i < 300; ++i)
    sum += (i == 0 ? "a" : "+a") + std::to_string(i);
  for (int i = 0; i < 60; ++i)
    product += "*(a" + std::to_string(i) + "+1)";
  for (int i = 0; i < 60; ++i)
    powers += "*s0";
  for (const std::string& text : {sum, product, powers}) {
    EXPECT_EQ(code_of(text), ErrorCode::OutOfMemory) << text.substr(0, 50);
  }
}

// A random expression, built as SymInt and evaluated by its definition side by side.
struct Sample {
  SymInt symbolic;
  int64_t value;
};

class Samples {
 public:
  explicit Samples(unsigned seed) : random_(seed) {
    for (const char* name : {"s0", "s1", "u2"})
      values_[name] = pick(1, 9);
  }

  const SymbolValues& values() const { return values_; }

  Sample make(int depth) {
    if (depth == 0 || pick(0, 5) == 0) return leaf();
    const Sample a = make(depth - 1), b = make(depth - 1);
    switch (pick(0, 6)) {
      case 0:
        return {a.symbolic - b.symbolic, a.value - b.value};
      case 1:
      case 2:
        return {a.symbolic * b.symbolic, a.value * b.value};
      case 3:
        return {min(a.symbolic, b.symbolic), std::min(a.value, b.value)};
      case 4:
        return {max(a.symbolic, b.symbolic), std::max(a.value, b.value)};
      case 5:
        return divided(a, b);
      default:
        return {a.symbolic + b.symbolic, a.value + b.value};
    }
  }

 private:
  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  Sample leaf() {
    if (pick(0, 1) == 0) {
      const int64_t value = pick(-6, 6);
      return {value, value};
    }
    const auto at = std::next(values_.begin(), pick(0, 2));
    return {SymInt::symbol(at->first), at->second};
  }

  Sample divided(const Sample& a, const Sample& b) {
    if (b.value == 0 || b.symbolic == SymInt(0)) return a;
    const auto quotient = static_cast<int64_t>(
        std::floor(static_cast<long double>(a.value) / static_cast<long double>(b.value)));
    if (pick(0, 1) == 0) return {floordiv(a.symbolic, b.symbolic), quotient};
    return {mod(a.symbolic, b.symbolic), a.value - quotient * b.value};
  }

  std::mt19937 random_;
  SymbolValues values_;
};

TEST(SymIntProperty, EvaluationPrintingAndSubstitutionAgreeWithTheDefinition) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    Samples samples(seed);
    const Sample sample = samples.make(4);
    const std::string text = sample.symbolic.str();
    ASSERT_EQ(sample.symbolic.eval(samples.values()), sample.value) << text;
    const SymInt parsed = SymInt::parse(text);
    ASSERT_EQ(parsed, sample.symbolic) << text << " reads as " << parsed.str();
    ASSERT_EQ(parsed.str(), text);
    std::map<std::string, SymInt> constants;
    for (const auto& [name, value] : samples.values())
      constants[name] = value;
    ASSERT_EQ(sample.symbolic.substitute(constants), SymInt(sample.value)) << text;
  }
}

TEST(SymIntProperty, PolynomialsAreARing) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    Samples samples(seed);
    const SymInt a = samples.make(2).symbolic, b = samples.make(2).symbolic,
                 c = samples.make(2).symbolic;
    ASSERT_EQ(a + b, b + a);
    ASSERT_EQ(a * b, b * a);
    ASSERT_EQ((a + b) * c, a * c + b * c);
    ASSERT_EQ((a * b) * c, a * (b * c));
    ASSERT_EQ(a - a, SymInt(0));
    if (!(b == SymInt(0))) {
      ASSERT_EQ(floordiv(a * b, b), a) << a.str() << " * " << b.str();
      ASSERT_EQ(mod(a * b, b), SymInt(0));
    }
  }
}

}  // namespace
}  // namespace regraft
