#include "program/guards.h"

#include <gtest/gtest.h>

namespace regraft::program {
namespace {

std::string read(std::string_view text) {
  const SizeOfInput size_of = [](const std::string& input,
                                 std::optional<int64_t> dim) -> std::optional<SymInt> {
    if (!dim) return input == "n" ? std::optional(SymInt::symbol("s2")) : std::nullopt;
    if (*dim > 1) return std::nullopt;
    if (input == "x") return dim == 0 ? SymInt::symbol("s0") : SymInt(8);
    if (input == "d_a_b" || input == "l_0") return SymInt::symbol("s1");
    return std::nullopt;
  };
  const auto guards = try_parse_guard(text, size_of);
  std::string out;
  for (const SizeGuard& guard : guards ? *guards : std::vector<SizeGuard>())
    out += (out.empty() ? "" : ", ") + guard.str();
  return out;
}

// As torch.export writes them.
TEST(Guards, AreReadAsPythonMeansThem) {
  EXPECT_EQ(read("L['x'].size()[0] != 7"), "s0 != 7");
  EXPECT_EQ(read("(L['x'].size()[0] % 2) == 0"), "mod(s0,2) == 0");
  EXPECT_EQ(read("(L['x'].size()[0] // 2) != 1"), "floordiv(s0,2) != 1");
  EXPECT_EQ(read("L['x'].size()[0] + 2*L['d']['a b'].size()[0] > 10"), "10 < s0+s1*2");
  EXPECT_EQ(read("(L['d'][\"a b\"].size()[0] // 3) < L['l'][0].size()[0]*L['l'][0].size()[0]"),
            "floordiv(s1,3) < s1*s1");
  EXPECT_EQ(read("torch.sym_max(L['x'].size()[0], L['l'][0].size()[0]) <= 50"), "max(s0,s1) <= 50");
  EXPECT_EQ(read("torch.sym_min(3, L['x'].size()[0]) >= 3"), "3 <= min(3,s0)");
  EXPECT_EQ(read("((4 + (-1)*(L['x'].size()[0] % 4)) % 4) <= 0"), "mod(-mod(s0,4),4) <= 0");
  EXPECT_EQ(read("L['x'].size()[1] == 8"), "8 == 8");
  EXPECT_EQ(read("1 + (((-3) + L['x'].size()[0]) // 2) >= 1 and L['d']['a_b'].size()[0] != 1"),
            "1 <= floordiv(s0+1,2)-1, s1 != 1");
  EXPECT_EQ(read("L['x'].size()[0] == L['l'][0].size()[0] or L['l'][0].size()[0] == 1"),
            "-s0+s0*s1+s1-s1*s1 == 0");
  EXPECT_EQ(read("L['n'] > 3"), "3 < s2");
  EXPECT_EQ(read("L['kwargs']['d']['a b'].size()[0] != 1"), "s1 != 1");
  EXPECT_EQ(read("7 - L['x'].size()[0] - 1 < 0"), "-s0+6 < 0");
}

TEST(Guards, OtherTextsAreNone) {
  for (const std::string_view text : {"",
                                      "L['x']",
                                      "L['x'].size()[0]",
                                      "L['x'].size()[0] ==",
                                      "== 3",
                                      "L['x'].size()[0] = 3",
                                      "L['y'].size()[0] == 3",
                                      "L['x'].size()[2] == 3",
                                      "L['x'].size()[-1] == 3",
                                      "L['x'].size()[0] == 3 and",
                                      "L['x'].size()[0] == 3 or 1 != 1",
                                      "L['x'].size()[0] == 3 or",
                                      "1 == 1 and 2 == 2 or L['x'].size()[0] == 3",
                                      "(L['x'].size()[0] / 2) > 1.5",
                                      "math.trunc(0.5*torch.sym_float(L['x'].size()[0])) != 1",
                                      "L['x'].size()[0]**2 == 9",
                                      "L['x'].size()[0] / 2 == 1",
                                      "L['x'.size()[0] == 3",
                                      "L['x].size()[0] == 3",
                                      "(L['x'].size()[0] == 3",
                                      "L['x'].size()[0] // 0 == 3",
                                      "99999999999999999999 == L['x'].size()[0]",
                                      "not 1 == 1",
                                      "f(L['x'].size()[0]) == 1"}) {
    EXPECT_EQ(read(text), "") << text;
  }
  EXPECT_EQ(read(std::string(100, '(') + "1" + std::string(100, ')') + " == 1"), "");
  EXPECT_EQ(read(std::string(100000, '-') + "1 == 1"), "");
}

}  // namespace
}  // namespace regraft::program
