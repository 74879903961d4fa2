// Files of every format version stay readable. The committed files are written once, by
//   REGRAFT_WRITE_GOLDEN=1 build/dev/tests/test_engine_file --gtest_filter='Golden.*'
// which also writes the seeds of the fuzz target.
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "engine_file/engine_file.h"
#include "regraft/engine.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::floats;
using testing::PlanBuilder;
using testing::Weights32;

const std::string kGolden = std::string(REGRAFT_TEST_DATA) + "/engine_file/golden/format1.rgf";
const std::string kCorpus = std::string(REGRAFT_TEST_DATA) + "/fuzz/corpus/rgf";

// Something of everything that the format can say.
engine::Image sample() {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 64, 8);
  const int32_t x = b.input("x", DType::F32, {n, 2});
  const int32_t weight = b.parameter("layer.weight", DType::F32, {2, 2}, {"tied.weight"});
  const int32_t offset = b.parameter("offset", DType::BF16, {2});
  const int32_t table = b.parameter("table", DType::I64, {3}, {}, 9);
  b.plan.parameters.back().optional = true;
  const int32_t doubled =
      b.weight("reference.mul", {weight, -1}, DType::F32, {2, 2}, {{"scalar", 2.0}});
  const int32_t w = b.constant("w", doubled), o = b.constant("o", offset, DType::F32);
  const int32_t count = b.shape("reference.full", {}, DType::F32, {n, 2},
                                {{"dims", SymDims{n, 2}}, {"value", n}, {"dtype", DType::F32}});
  const int32_t product = b.compute("reference.linear", {x, w, o}, DType::F32, {n, 2});
  b.plan.compute_steps.back().origin = "layer";
  const int32_t active = b.compute("reference.gelu", {product}, DType::F32, {n, 2},
                                   {{"approximate", std::string("tanh")}});
  b.plan.compute_steps.back().in_place = true;
  b.output("y", "reference.add", {active, count}, DType::F32, {n, 2},
           {{"scalar", Attribute()}, {"flag", false}, {"numbers", std::vector<double>{0.5, 2}}});
  b.alias_output("table", b.constant("t", table));
  engine::Image image;
  image.plan = b.plan;
  image.name = "golden";
  image.metadata = {{"in_spec", "[*]"}, {"settings", "backend=reference"}};
  image.unused_parameters = {"steps"};
  image.realised =
      "regraft realised plan 1\nmachine x86_64\nthreads 3\nversion 0.1.0\nplan 0\n"
      "packing compute 0 1 16 plain\ntactic compute 0 reference\n";
  return image;
}

std::vector<Tensor> sample_values() {
  Tensor offset(DType::BF16, {2}), table(DType::I64, {3});
  for (int i = 0; i < 2; ++i)
    offset.mutable_view().as_mutable<uint16_t>()[i] = 0x3f80;  // 1.0
  for (int i = 0; i < 3; ++i)
    table.mutable_view().as_mutable<int64_t>()[i] = 4 * i;
  return {testing::f32({2, 2}, {1, 2, 3, 4}), offset, table};
}

void write_golden(const std::string& path, bool stripped) {
  engine::Image image = sample();
  image.stripped = stripped;
  std::vector<TensorView> views;
  const std::vector<Tensor> values = sample_values();
  for (const Tensor& value : values)
    views.push_back(value.view());
  if (stripped) views[0].data = views[1].data = nullptr;
  engine_file::write(path, image, views);
}

TEST(Golden, FirstFormat) {
  if (std::getenv("REGRAFT_WRITE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(kCorpus);
    write_golden(kGolden, false);
    write_golden(kCorpus + "/embedded.rgf", false);
    write_golden(kCorpus + "/stripped.rgf", true);
    SaveOptions options;
    options.form = SaveForm::Immutable;
    options.realised = false;
    Engine::load(kGolden).save(kCorpus + "/immutable.rgf", options);
  }
  const engine::Image image = engine_file::read(kGolden);
  EXPECT_EQ(to_string(image.plan), to_string(sample().plan));
  EXPECT_EQ(image.name, "golden");
  EXPECT_EQ(image.metadata, sample().metadata);
  EXPECT_EQ(image.unused_parameters, sample().unused_parameters);
  EXPECT_EQ(image.realised, sample().realised);
  const std::vector<Tensor> values = sample_values();
  EXPECT_EQ(floats(image.weights->read("layer.weight").view), floats(values[0].view()));

  const Engine engine = Engine::load(kGolden);
  const auto out = engine.run({testing::f32({1, 2}, {100, 200}).view()});
  // gelu is the identity out there: x * 2W^T + 1 + n.
  EXPECT_EQ(floats(out[0].view()), (std::vector<float>{1002, 2202}));
  EXPECT_EQ(out[1].view().as<int64_t>()[2], 8);
}

}  // namespace
}  // namespace regraft
