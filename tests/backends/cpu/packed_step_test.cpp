// A step and the packing of its value as one kernel give the bits of the two kernels.
#include <cstring>
#include <iterator>

#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "backends/cpu/run/isa.h"
#include "base/text.h"

namespace regraft::test {
namespace {

using backends::KernelRequest;
using cpu::Isa;

struct Weight {
  std::string name;
  Dims dims;
  int64_t groups = 1;
  DType dtype = DType::F32;  // Of the constant; the product is f32.
};

// The form that a convolution wants.
backends::Packing packing_of(const Weight& w) {
  const int64_t kernel = w.dims[2], in = w.dims[1] * w.groups, out = w.dims[0];
  const auto pair = [](int64_t v) { return to_sym({v, v}); };
  KernelTest conv("cpu.convolution", {{"stride", pair(1)},
                                      {"padding", pair(kernel / 2)},
                                      {"dilation", pair(1)},
                                      {"output_padding", pair(0)},
                                      {"groups", SymInt(w.groups)},
                                      {"transposed", false},
                                      {"epilogue", std::string()}});
  conv.input(w.dtype, {2, in, 9, 9}, {0, 2, 3, 1}).constant(w.dtype, w.dims);
  conv.input(DType::F32, {out}).output(w.dtype, {2, out, 9, 9}, {0, 2, 3, 1});
  return backends::run_backend("cpu").choose_packing(conv.request(), 1);
}

void run(const backends::Kernel& kernel, std::vector<const void*> inputs, void* output) {
  const Tensor workspace(DType::U8, {static_cast<int64_t>(kernel.workspace_bytes()) + 64});
  std::vector<void*> outputs = {output};
  kernel.run({inputs, outputs, workspace.mutable_view().as_mutable<std::byte>()});
}

class PackedStep : public testing::TestWithParam<std::tuple<Isa, Weight>> {
 protected:
  PackedStep() { cpu::limit_isa(std::get<0>(GetParam())); }
  ~PackedStep() override { cpu::limit_isa(Isa::Avx512); }
};

TEST_P(PackedStep, SameBits) {
  const Weight& w = std::get<1>(GetParam());
  const backends::RunBackend& backend = backends::run_backend("cpu");
  const backends::Packing packing = packing_of(w);
  if (packing.is_plain()) GTEST_SKIP() << "this machine's convolution reads the plain form";
  KernelTest step("cpu.pointwise", {{"program", std::string("mul i0 i1 -> r0")}});
  step.input(DType::F32, w.dims).input(DType::F32, {w.dims[0], 1, 1, 1}).scaled(1e-3);
  step.output(DType::F32, w.dims);
  const KernelRequest request = step.request();
  const auto fused = backend.prepare_packed_step(request, w.dtype, packing);
  ASSERT_NE(fused, nullptr) << packing.id;

  Tensor weight(DType::F32, w.dims), scale(DType::F32, {w.dims[0]}), product(DType::F32, w.dims);
  for (const Tensor* tensor : {&weight, &scale}) {
    auto* const values = tensor->mutable_view().as_mutable<float>();
    for (int64_t i = 0; i < tensor->view().count(); ++i)
      values[i] = 1.0F / static_cast<float>(i % 977 - 488 + (i % 977 == 488 ? 7 : 0));
  }
  const auto bytes = static_cast<int64_t>(packing.bytes);
  Tensor want(DType::U8, {bytes}), have(DType::U8, {bytes});
  std::memset(have.mutable_view().as_mutable<std::byte>(), 0x5a, packing.bytes);
  run(*backend.prepare(request), {weight.view().data, scale.view().data},
      product.mutable_view().as_mutable<std::byte>());
  run(*backend.prepare_packing(backends::host_device(), request.outputs[0], w.dtype, packing),
      {product.view().data}, want.mutable_view().as_mutable<std::byte>());
  run(*fused, {weight.view().data, scale.view().data}, have.mutable_view().as_mutable<std::byte>());
  EXPECT_EQ(std::memcmp(want.view().data, have.view().data, packing.bytes), 0);
}

const Weight kWeights[] = {
    {"dense", {40, 19, 3, 3}},
    {"point", {64, 48, 1, 1}},
    {"large", {256, 96, 3, 3}},
    {"depthwise", {33, 1, 5, 5}, 33},
    {"bf16", {40, 19, 3, 3}, 1, DType::BF16},
    {"bf16_point", {64, 48, 1, 1}, 1, DType::BF16},
};

std::string name_of(const testing::TestParamInfo<PackedStep::ParamType>& info) {
  constexpr std::string_view kNames[] = {"baseline", "avx2", "avx512"};
  const auto& [isa, weight] = info.param;
  return base::cat(weight.name, "_", kNames[static_cast<size_t>(isa)]);
}

INSTANTIATE_TEST_SUITE_P(Weights, PackedStep,
                         testing::Combine(testing::Values(Isa::Baseline, Isa::Avx2, Isa::Avx512),
                                          testing::ValuesIn(kWeights)),
                         name_of);

// What is not a product with a factor per lane is left to the two kernels.
TEST(PackedSteps, OthersAreRefused) {
  const Weight w{"", {64, 48, 1, 1}};
  const backends::Packing packing = packing_of(w);
  const auto prepare = [&](const std::string& program, const Dims& factor) {
    KernelTest step("cpu.pointwise", {{"program", program}});
    step.input(DType::F32, w.dims).input(DType::F32, factor).output(DType::F32, w.dims);
    return backends::run_backend("cpu").prepare_packed_step(step.request(), w.dtype, packing);
  };
  EXPECT_EQ(prepare("add i0 i1 -> r0", {64, 1, 1, 1}), nullptr);
  EXPECT_EQ(prepare("mul i0 i1 -> r0", {1, 48, 1, 1}), nullptr);
  EXPECT_EQ(prepare("mul i0 i1 -> r0", {64, 48, 1, 1}), nullptr);
  EXPECT_EQ(prepare("mul i0 i1 -> r0", {1, 1, 1, 1}), nullptr);
}

}  // namespace
}  // namespace regraft::test
