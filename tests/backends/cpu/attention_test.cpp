#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "backends/cpu/run/isa.h"
#include "base/text.h"

namespace regraft::test {
namespace {

using cpu::Isa;

struct Shape {
  int64_t batch = 2, heads = 3, queries = 37, keys = 37, features = 16, value_features = 16;
  int64_t key_heads = 0;  // 0: as many as heads.
  bool causal = false;
  Dims mask{};
  DType mask_type = DType::F32;
};

void check(const Shape& s, DType type) {
  const int64_t key_heads = s.key_heads == 0 ? s.heads : s.key_heads;
  // Heads interleaved, as a merged projection leaves them.
  const std::vector<size_t> order = {0, 2, 1, 3};
  KernelTest test("cpu.scaled_dot_product_attention",
                  {{"is_causal", s.causal}, {"scale", 0.3}, {"enable_gqa", s.key_heads != 0}});
  test.input(type, {s.batch, s.heads, s.queries, s.features}, order);
  test.input(type, {s.batch, key_heads, s.keys, s.features}, order);
  test.input(type, {s.batch, key_heads, s.keys, s.value_features}, order);
  if (!s.mask.empty()) {
    s.mask_type == DType::Bool ? test.integers(DType::Bool, s.mask, 0, 2)
                               : test.input(s.mask_type, s.mask);
  } else {
    test.absent();
  }
  test.output(type, {s.batch, s.heads, s.queries, s.value_features}, order);
  const std::string mask = s.mask.empty()               ? "none"
                           : s.mask_type == DType::BF16 ? "cast(%a3) {dtype=f32}"
                                                        : "%a3";
  test.check(base::cat("%y = scaled_dot_product_attention(cast(%a0) {dtype=f32}, cast(%a1) "
                       "{dtype=f32}, cast(%a2) {dtype=f32}, ",
                       mask, ") {is_causal=", s.causal ? "true" : "false",
                       ", scale=0.3, enable_gqa=", s.key_heads != 0 ? "true" : "false",
                       "}\n%z = cast(%y) {dtype=", name(type), "} return %z"),
             type == DType::F32 ? 2e-6 : 0x1p-7);
}

class Attention : public testing::TestWithParam<std::tuple<Isa, DType>> {
 public:
  Attention() { cpu::limit_isa(std::get<0>(GetParam())); }
  ~Attention() override { cpu::limit_isa(Isa::Avx512); }
  DType type() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, Attention,
                         testing::Combine(testing::Values(Isa::Baseline, Isa::Avx2, Isa::Avx512),
                                          testing::Values(DType::F32, DType::BF16)));

TEST_P(Attention, Sizes) {
  check({}, type());
  check({.queries = 1, .keys = 1, .features = 1, .value_features = 1}, type());
  check({.queries = 50, .keys = 129, .features = 64, .value_features = 64}, type());
  check({.queries = 7, .keys = 300, .features = 33, .value_features = 40}, type());
  check({.batch = 1, .heads = 1, .queries = 97, .keys = 520, .features = 80, .value_features = 80},
        type());
  check({.queries = 49, .keys = 257, .features = 18, .value_features = 5}, type());
}

TEST_P(Attention, Causal) {
  check({.causal = true}, type());
  check({.queries = 300, .keys = 300, .features = 64, .value_features = 64, .causal = true},
        type());
  check({.queries = 20, .keys = 7, .causal = true}, type());
  check({.queries = 7, .keys = 20, .causal = true}, type());
}

TEST_P(Attention, Masks) {
  for (const DType mask : {DType::F32, DType::BF16, DType::Bool}) {
    check({.mask = {2, 3, 37, 37}, .mask_type = mask}, type());
    check({.mask = {2, 1, 1, 37}, .mask_type = mask}, type());
    check({.mask = {37, 37}, .mask_type = mask}, type());
    check({.mask = {37, 1}, .mask_type = mask}, type());
    check({.keys = 300, .mask = {1, 3, 37, 300}, .mask_type = mask}, type());
  }
}

TEST_P(Attention, GroupedHeads) {
  check({.heads = 6, .key_heads = 2}, type());
  check({.heads = 6, .queries = 100, .keys = 100, .key_heads = 3, .causal = true}, type());
}

}  // namespace
}  // namespace regraft::test
