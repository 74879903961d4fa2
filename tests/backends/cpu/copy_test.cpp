#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "backends/cpu/run/isa.h"
#include "backends/cpu/run/packed_layout.h"
#include "base/text.h"
#include "regraft/error.h"

namespace regraft::test {
namespace {

using cpu::Isa;

TEST(Copy, TypesAndLayouts) {
  for (const Isa isa : {Isa::Baseline, Isa::Avx512}) {
    cpu::limit_isa(isa);
    for (const DType from : {DType::F32, DType::BF16, DType::I64, DType::Bool, DType::F64}) {
      for (const DType to : {DType::F32, DType::BF16, DType::I32}) {
        for (const auto& order : {std::vector<size_t>{0, 1, 2, 3}, {0, 2, 3, 1}, {3, 1, 0, 2}}) {
          KernelTest test("cpu.copy", {});
          if (from == DType::Bool) {
            test.integers(from, {2, 35, 5, 33}, 0, 2);
          } else {
            test.input(from, {2, 35, 5, 33}, order);
          }
          test.output(to, {2, 35, 5, 33});
          test.check(base::cat("%y = cast(%a0) {dtype=", name(to), "} return %y"));
        }
      }
    }
  }
  cpu::limit_isa(Isa::Avx512);
}

TEST(Copy, Float8) {
  for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
    cpu::limit_isa(isa);
    for (const DType float8 : {DType::F8E4M3FN, DType::F8E5M2}) {
      for (const DType other : {DType::F32, DType::BF16, DType::F16, DType::I32, float8}) {
        for (const auto& [from, to] : {std::pair(float8, other), std::pair(other, float8)}) {
          for (const auto& order : {std::vector<size_t>{0, 1, 2}, {0, 2, 1}}) {
            KernelTest test("cpu.copy", {});
            test.input(from, {2, 35, 133}, order).output(to, {2, 35, 133});
            test.check(base::cat("%y = cast(%a0) {dtype=", name(to), "} return %y"));
          }
        }
      }
    }
  }
  cpu::limit_isa(Isa::Avx512);
}

TEST(Copy, Cat) {
  KernelTest test("cpu.cat", {{"dim", SymInt(-2)}});
  test.input(DType::F32, {2, 3, 40}).input(DType::F32, {2, 1, 40}, {1, 2, 0});
  test.input(DType::F32, {2, 0, 40}).output(DType::F32, {2, 4, 40});
  test.check("%y = cat(%a0, %a1, %a2) {dim=-2} return %y");
}

TEST(Embedding, Rows) {
  KernelTest test("cpu.embedding", {});
  test.input(DType::BF16, {20, 33}).integers(DType::I64, {3, 50}, 0, 20);
  test.output(DType::BF16, {3, 50, 33});
  test.check("%y = embedding(%a0, %a1) return %y");
}

TEST(PackedLayout, RefusesHostileIds) {
  for (const char* id :
       {"blocked", "blocked ", "blocked dtype=f32",
        "blocked dtype=i8 logical=4,4 groups=1 order=0,1 padded=4,4 strides=4,1 block_dims= "
        "block_sizes=",
        "blocked dtype=f32 logical=4,4 groups=3 order=0,1,2 padded=4,4 strides=4,1 block_dims= "
        "block_sizes=",
        "blocked dtype=f32 logical=4,4 groups=1 order=0,0 padded=4,4 strides=4,1 block_dims= "
        "block_sizes=",
        "blocked dtype=f32 logical=4,4 groups=1 order=0,1 padded=2,4 strides=4,1 block_dims= "
        "block_sizes=",
        "blocked dtype=f32 logical=4,4 groups=1 order=0,1 padded=16,4 strides=4,1 block_dims=7 "
        "block_sizes=16",
        "blocked dtype=f32 logical=4,4 groups=1 order=0,1 padded=4,4 strides=1099511627776,1 "
        "block_dims= block_sizes=",
        "blocked dtype=f32 logical=4,4 groups=1 order=0,1 padded=4,4 strides=99999999999999,1 "
        "block_dims= block_sizes="}) {
    EXPECT_THROW(cpu::PackedLayout::parse(id), Error) << id;
  }
}

}  // namespace
}  // namespace regraft::test
