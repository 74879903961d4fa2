// Every kernel of the backend compiles for the GPUs that it is made for; no GPU is needed.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/compile/backend.h"
#include "backends/cuda/run/backend.h"
#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/cuda_device.h"
#include "backends/cuda/run/kernel_group.h"
#include "backends/cuda/run/shifted_rows.h"
#include "compilation/pipeline.h"
#include "engine/shaped.h"
#include "ir/text.h"
#include "support/conformance.h"

namespace regraft::cuda {
namespace {

using test::Case;
using test::Feed;

plan::Plan plan_of(const test::PreparedCase& c) {
  const auto graph = c.graph->clone();
  const compilation::Settings settings;
  compilation::optimise(*graph, settings);
  return compile_backend().compile(*graph, settings);
}

SymbolValues sizes_of(const plan::Plan& plan, const test::PreparedCase& c) {
  std::vector<Dims> dims;
  for (const TensorView& input : c.inputs)
    dims.push_back(input.dims);
  return plan::solve_symbols(plan, dims);
}

// Whether a step may be refused here, where libraries may be missing and do not start without a
// GPU, or at all.
bool is_expected(const std::string& refusal) {
  constexpr std::string_view kReasons[] = {"does not start", "was not found", "complex numbers"};
  return std::any_of(std::begin(kReasons), std::end(kReasons), [&](std::string_view reason) {
    return refusal.find(reason) != std::string::npos;
  });
}

// Prepares every step. Gives the tactics.
std::set<std::string> compile_steps(const Case& c, CudaDevice& device) {
  std::set<std::string> tactics;
  const auto prepared = test::prepare_case(c, Feed::Inputs);
  const plan::Plan plan = plan_of(*prepared);
  const engine::Shaped shaped = engine::shape_all(plan, sizes_of(plan, *prepared), device);
  for (const auto* steps : {&plan.shape_steps, &plan.compute_steps}) {
    for (const plan::Step& step : *steps) {
      try {
        tactics.insert(engine::prepare(engine::request_of(plan, step, shaped))->tactic());
      } catch (const Error& error) {
        EXPECT_TRUE(is_expected(error.what())) << c.name << ": " << error.what();
      }
    }
  }
  return tactics;
}

class Kernels : public testing::TestWithParam<std::string> {};

// Dtypes differ in conversions only, which one wide and one narrow type go through.
TEST_P(Kernels, Compile) {
  ASSERT_NO_THROW(compiler_version()) << "tools/setup installs NVRTC with PyTorch";
  static CudaDevice device("sm_90");
  const char* all = std::getenv("REGRAFT_COMPILE_ALL");
  std::set<std::string> done;
  for (const Case& c : test::load_cases(GetParam())) {
    if (all == nullptr && !c.dtype.empty() && c.dtype != "f32" && c.dtype != "bf16") continue;
    const std::string name = c.name.substr(0, c.name.find_last_of("/ "));
    if (all == nullptr && !done.insert(name + c.dtype).second) continue;
    try {
      compile_steps(c, device);
    } catch (const Error& error) {
      ADD_FAILURE() << c.name << ": " << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Kernels, testing::ValuesIn(test::case_files()),
                         [](const auto& info) { return info.param; });

// Images with their channels last and dense rows have kernels of their own.
TEST(Vectors, AreTaken) {
  ASSERT_NO_THROW(compiler_version()) << "tools/setup installs NVRTC with PyTorch";
  CudaDevice device("sm_80");
  const std::tuple<const char*, const char*, const char*> kWanted[] = {
      {"max_pool", "2d_between_convolutions", "pool"},
      {"avg_pool", "2d_between_convolutions", "pool"},
      {"reduce", "columns_after_a_convolution", "column_reduce"},
      {"group_norm", "between_convolutions", "group_norm"},
      {"group_norm", "far_from_zero", "group_norm"},
      {"layer_norm", "whole_vectors", "row_norm"},
      {"layer_norm", "long_rows", "row_norm"},
      {"rms_norm", "many_rows", "row_norm"},
  };
  for (const auto& [file, name, tactic] : kWanted) {
    int seen = 0;
    for (const Case& c : test::load_cases(file)) {
      if (c.name.find(name) == std::string::npos) continue;
      EXPECT_THAT(compile_steps(c, device), testing::Contains(tactic)) << c.name;
      ++seen;
    }
    EXPECT_GT(seen, 0) << name;
  }
}

plan::Plan compiled(const std::string& text, bool allow_tf32 = false) {
  const auto graph = ir::parse(text);
  compilation::Settings settings;
  settings.allow_tf32 = allow_tf32;
  compilation::optimise(*graph, settings);
  return compile_backend().compile(*graph, settings);
}

size_t count_tf32(const std::vector<plan::Step>& steps) {
  return static_cast<size_t>(std::count_if(steps.begin(), steps.end(), [](const plan::Step& step) {
    return !step.attributes.is_none("tf32") && step.attributes.flag("tf32");
  }));
}

// Where it is allowed, and never for weights or other types.
TEST(Tf32, IsSaidOfProductsOfFloat) {
  const std::string text =
      "parameters { @a: f32[8,8] @b: f32[8,8] @h: f16[8,8] } graph(%x: f32[4,8], %y: f16[4,8]) {"
      " %w = matmul(@a, @b) %p = linear(%x, %w) %q = matmul(%p, %w) %r = relu(%q)"
      " %z = linear(%y, @h) return %r, %z }";
  EXPECT_EQ(count_tf32(compiled(text).compute_steps), 0u);
  const plan::Plan plan = compiled(text, true);
  EXPECT_EQ(count_tf32(plan.compute_steps), 2u);
  EXPECT_EQ(count_tf32(plan.weight_steps), 0u);
  EXPECT_FALSE(plan.weight_steps.empty());
}

// Products into rows that are no whole vectors are slow; whoever reads the result takes strides.
TEST(Rows, OfLargeProductsArePadded) {
  const auto strides = [](const std::string& dims, const std::string& rest) {
    const plan::Plan plan = compiled("parameters { @w: f16[" + dims +
                                     ",16] } graph(%x: f16[5,7,16]) {"
                                     " %y = linear(%x, @w) " +
                                     rest + " return %r }");
    const plan::Step& product = plan.compute_steps.front();
    EXPECT_EQ(product.kernel, "cuda.linear");
    return eval(plan.buffers[product.outputs[0]].strides, {});
  };
  EXPECT_EQ(strides("1027", "%r = softmax(%y) {dim=-1}"), (Dims{7 * 1032, 1032, 1}));
  EXPECT_EQ(strides("1024", "%r = softmax(%y) {dim=-1}"), (Dims{7 * 1024, 1024, 1}));
  EXPECT_EQ(strides("35", "%r = softmax(%y) {dim=-1}"), (Dims{7 * 35, 35, 1}));
  EXPECT_EQ(strides("1027", "%r = relu(%y)"), (Dims{7 * 1027, 1027, 1}))
      << "a result of the program";
}

// Of 16-bit linears that only a cast to f32 reads; biases that were never rounded stay so.
TEST(Widening, IsPartOfTheProduct) {
  const auto kernels = [](const std::string& parameters, const std::string& body) {
    const plan::Plan plan = compiled("parameters { @w: bf16[24,16] " + parameters +
                                     " } graph(%x: bf16[5,16]) {" + body + " return %r }");
    std::string text;
    for (const plan::Step& step : plan.compute_steps) {
      text += step.kernel;
      for (const int32_t input : step.inputs)
        text += input < 0 ? " none" : base::cat(" ", name(plan.buffers[input].type.dtype));
      text += base::cat(" -> ", name(plan.buffers[step.outputs[0]].type.dtype), "; ");
    }
    return text;
  };
  const std::string cast = " %r = cast(%y) {dtype=f32}";
  EXPECT_EQ(kernels("", "%y = linear(%x, @w)" + cast), "cuda.linear bf16 bf16 none -> f32; ");
  EXPECT_EQ(kernels("@b: f32[24]", "%b = cast(@b) {dtype=bf16} %y = linear(%x, @w, %b)" + cast),
            "cuda.linear bf16 bf16 f32 -> f32; ");
  EXPECT_THAT(kernels("@b: bf16[24]", "%y = linear(%x, @w, @b)" + cast),
              testing::StartsWith("cuda.linear bf16 bf16 bf16 -> bf16; "))
      << "a bias of 16 bits";
  EXPECT_THAT(kernels("", "%z = linear(%x, @w) %y = relu(%z)" + cast),
              testing::StartsWith("cuda.linear bf16 bf16 none -> bf16; "))
      << "an epilogue";
  EXPECT_THAT(kernels("", "%y = linear(%x, @w) %z = cast(%y) {dtype=f32} %r = add(%z, %y)"),
              testing::StartsWith("cuda.linear bf16 bf16 none -> bf16; "))
      << "another reader";
}

// Whoever adds to what follows lies so, too: rows of a batch that only the program turns over.
TEST(Attention, LiesAsItsQuery) {
  const auto strides = [](const std::string& query, const std::string& key) {
    const plan::Plan plan =
        compiled("graph(%q: f16" + query + ", %k: f16" + key +
                 ") { %p = permute(%q) {dims=[0,2,1,3]} %s = permute(%k) {dims=[0,2,1,3]}"
                 " %y = scaled_dot_product_attention(%p, %s, %s) %r = permute(%y) {dims=[2,0,1,3]}"
                 " %z = relu(%r) return %z }");
    return eval(plan.buffers[plan.compute_steps.front().outputs[0]].strides, {});
  };
  EXPECT_EQ(strides("[3,5,2,8]", "[3,7,2,8]"), (Dims{80, 8, 16, 1}));
}

TEST(ShiftedRows, Compile) {
  ASSERT_NO_THROW(compiler_version()) << "tools/setup installs NVRTC with PyTorch";
  CudaDevice device("sm_80");
  for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
    const LaunchOperand from{Place::workspace(0), dtype, {5, 1024}, {1024, 1}};
    const LaunchOperand to{Place::output(0), dtype, {5, 1024}, {1027, 1}, item_size(dtype)};
    EXPECT_NO_THROW(make_shifted_rows(device, from, to)) << name(dtype);
  }
}

// All ways to divide the work of attention, of which a GPU chooses one.
TEST(Attention, HasAKernelForEveryShape) {
  ASSERT_NO_THROW(compiler_version()) << "tools/setup installs NVRTC with PyTorch";
  CudaDevice device("sm_90");
  struct Sizes {
    std::string query, key, mask;
  };
  const Sizes kSizes[] = {
      {"[2,8,1024,40]", "[2,8,1024,40]", ""},
      {"[2,8,256,80]", "[2,8,77,80]", ""},
      {"[2,8,64,160]", "[2,8,64,160]", ""},
      {"[1,12,300,64]", "[1,12,300,64]", ""},
      {"[32,12,256,64]", "[32,12,256,64]", "[32,1,256,256]"},
  };
  for (const auto& [q, k, mask] : kSizes) {
    const bool has_mask = !mask.empty();
    const plan::Plan plan = compiled(base::cat("graph(%q: f16", q, ", %k: f16", k, ", %v: f16", k,
                                               has_mask ? ", %m: bool" + mask : "",
                                               ") { %r = scaled_dot_product_attention(%q, %k, %v",
                                               has_mask ? ", %m" : "", ") return %r }"));
    const engine::Shaped shaped = engine::shape_all(plan, {}, device);
    KernelRequest request = engine::request_of(plan, plan.compute_steps[0], shaped);
    request.tactic = "fastest";
    const auto kernel = engine::prepare(request);
    EXPECT_THAT(kernel->tactic(), testing::StartsWith("flash:")) << q << k << mask;
  }
}

PointwiseSpec spec_of(const std::string& program, const std::vector<LaunchOperand>& inputs,
                      const LaunchOperand& output) {
  return {program, inputs, output, program == "-> i0" && inputs[0].dtype == output.dtype};
}

LaunchOperand operand(Place place, DType dtype, const Dims& dims, const Dims& strides) {
  return {place, dtype, dims, strides, 16};
}

// What folding a batch norm into a convolution leaves: vectors, tiles and numbers per channel.
std::vector<std::unique_ptr<Kernel>> weight_kernels(CudaDevice& device) {
  const Dims dims = {64, 32, 3, 3};
  const LaunchOperand weight = operand(Place::input(0), DType::F32, dims, {288, 9, 3, 1});
  const LaunchOperand factor = operand(Place::input(1), DType::F32, dims, {1, 0, 0, 0});
  const LaunchOperand packed = operand(Place::output(0), DType::BF16, dims, {288, 1, 96, 32});
  const LaunchOperand gamma = operand(Place::input(0), DType::F32, {64}, {1});
  const LaunchOperand variance = operand(Place::input(1), DType::F32, {64}, {1});
  const LaunchOperand result = operand(Place::output(0), DType::F32, {64}, {1});
  std::vector<std::unique_ptr<Kernel>> kernels;
  const auto add = [&](PointwiseSpec spec) {
    std::vector<PointwiseSpec> parts = {std::move(spec)};
    kernels.push_back(std::make_unique<PointwiseKernel>(device, std::move(parts), "", true));
  };
  add(spec_of("mul i0 i1 -> r0", {weight, factor}, packed));
  add(spec_of("add i1 1e-05; rsqrt r0; mul i0 r1 -> r2", {gamma, variance}, result));
  add(spec_of("-> i0", {gamma}, result));
  add(spec_of("-> i0", {gamma}, operand(Place::output(0), DType::F16, {64}, {1})));
  kernels.push_back(std::make_unique<NoKernel>());
  // Elements that are only moved, in vectors and in tiles.
  for (const DType dtype : {DType::Bool, DType::I16, DType::I32, DType::I64, DType::C128}) {
    for (const Dims& strides : {Dims{9, 1}, Dims{1, 64}}) {
      add(spec_of("-> i0", {operand(Place::input(0), dtype, {64, 9}, strides)},
                  operand(Place::output(0), dtype, {64, 9}, {9, 1})));
    }
  }
  // Float8 weights and their scales.
  for (const DType dtype : {DType::F8E4M3FN, DType::F8E5M2}) {
    add(spec_of("mul i0 i1 -> r0", {operand(Place::input(0), dtype, dims, {288, 9, 3, 1}), factor},
                packed));
    add(spec_of("-> i0", {weight}, operand(Place::output(0), dtype, dims, {288, 1, 96, 32})));
    add(spec_of("-> i0", {operand(Place::input(0), dtype, {64, 9}, {9, 1})},
                operand(Place::output(0), dtype, {64, 9}, {9, 1})));
  }
  return kernels;
}

TEST(Group, IsOneKernelForEveryArchitecture) {
  for (const std::string arch : {"sm_80", "sm_90"}) {
    CudaDevice device(arch);
    const auto owned = weight_kernels(device);
    std::vector<const Kernel*> kernels;
    for (const auto& kernel : owned)
      kernels.push_back(kernel.get());
    const PointwiseGroup group(device, kernels);  // Compiles.
    EXPECT_NE(group.source().find("case 19:"), std::string::npos);
    EXPECT_EQ(group.source().find("case 20:"), std::string::npos);
    EXPECT_TRUE(group.takes(0));
    EXPECT_FALSE(group.takes(4));
    EXPECT_EQ(group.passes(0, 0), 64 * 32 * 9);
    EXPECT_EQ(group.passes(0, 1), 0) << "a factor is read once for each element";
    EXPECT_EQ(group.passes(1, 0), 64);
  }
}

TEST(Tables, CompileForEveryArchitecture) {
  for (const char* name : {"copy_blocks", "non_finite"}) {
    const std::string source =
        base::cat(kernel_source("prelude"), kernel_source("table"), kernel_source(name));
    for (const char* arch : {"sm_80", "sm_90"})
      EXPECT_FALSE(compile_cubin(source, arch).empty()) << name << " " << arch;
  }
}

TEST(Adapters, AreMergedByOneKernel) {
  for (const char* arch : {"sm_80", "sm_90"}) {
    CudaDevice device(arch);
    const std::vector<backends::LoraMerge> none;
    EXPECT_NO_THROW(device.merge_lora(none)) << arch;  // Compiles.
  }
}

// Tests run once more with the oldest: see cmake/tests.cmake.
TEST(Compiler, IsTheOneWanted) {
  const char* const wanted = std::getenv("REGRAFT_WANT_NVRTC");
  if (wanted == nullptr) GTEST_SKIP() << "any compiler is wanted";
  EXPECT_EQ(compiler_version(), wanted) << "tools/setup installs it";
}

TEST(Compiler, SaysWhatIsWrong) {
  try {
    compile_cubin("extern \"C\" __global__ void run() { wrong; }", "sm_90");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("does not compile for sm_90"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("wrong"), std::string::npos);
  }
}

TEST(Compiler, ServesTheOldestArchitecture) {
  EXPECT_FALSE(
      compile_cubin(std::string(kernel_source("prelude")) + "extern \"C\" __global__ void run() {}",
                    "sm_80")
          .empty());
}

}  // namespace
}  // namespace regraft::cuda
