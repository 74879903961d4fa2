// Runs the command line as a user does.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/shell.h"
#include "ir/text.h"
#include "sources/json.h"
#include "sources/npy.h"

namespace regraft::cli::test {
namespace {

using testing::AllOf;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;
using testing::StartsWith;

class Cli : public testing::Test {
 protected:
  void SetUp() override { folder_ = model_folder(); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  Outcome run(const std::string& arguments) const { return regraft(folder_, arguments); }
  // Runs what must succeed.
  std::string good(const std::string& arguments) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.err;
    EXPECT_EQ(outcome.err, "") << arguments;
    return outcome.out;
  }
  // Runs what must fail because of what it reads; gives the message.
  std::string bad(const std::string& arguments) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments << "\n" << outcome.out;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_THAT(outcome.err, StartsWith("regraft: [")) << arguments;
    return outcome.err;
  }
  std::vector<float> output(const std::string& engine) const {
    good("run " + engine + " --input x.npy --output y.npy");
    return read_floats(path("y.npy"));
  }
  static auto near(float factor, float error = 1e-5f) {
    return Pointwise(FloatNear(error), expected(factor));
  }
  static sources::Json json(const std::string& text) {
    return sources::Json::parse(text, "standard output");
  }

  std::string folder_;
};

TEST_F(Cli, CompileRunRefit) {
  EXPECT_THAT(good("compile model.pt2 -o m.rgf --backend reference"), HasSubstr("wrote m.rgf"));
  EXPECT_THAT(output("m.rgf"), near(1));
  EXPECT_THAT(good("refit m.rgf --weights other.safetensors -o n.rgf"), HasSubstr("wrote n.rgf"));
  EXPECT_THAT(output("n.rgf"), near(2));
  EXPECT_THAT(output("m.rgf"), near(1));
  good("refit n.rgf --weights model.pt2 -o n.rgf");
  EXPECT_THAT(output("n.rgf"), near(1));
}

TEST_F(Cli, EveryBackendAndPrecision) {
  for (const std::string backend : {"reference", "cpu"}) {
    good("compile model.pt2 -o m.rgf --backend " + backend);
    EXPECT_THAT(output("m.rgf"), near(1)) << backend;
    good("compile model.pt2 -o m.rgf --precision bf16 --backend " + backend);
    EXPECT_THAT(output("m.rgf"), near(1, 0.1f)) << backend;
  }
}

TEST_F(Cli, InputsAndOutputsByName) {
  good("compile model.pt2 -o m.rgf");
  good("run m.rgf --input x=x.npy --output output=y.npy --repeat 3");
  EXPECT_THAT(read_floats(path("y.npy")), near(1));
  EXPECT_THAT(bad("run m.rgf --input z=x.npy"), HasSubstr("no 'z'; it has x"));
  EXPECT_THAT(bad("run m.rgf --input x.npy --input x.npy"), HasSubstr("has 1, 2 given"));
  EXPECT_THAT(bad("run m.rgf"), HasSubstr("x (f32[s0,4]) is missing"));
}

TEST_F(Cli, WhatNumPyDoesNotHaveIsRoundedFromFloats) {
  write_float8(path("model8.pt2"));
  sources::write_npy(path("v.npy"), tensor({4}, {1.03f, -17, 448, 0.3f}).view());
  good("compile model8.pt2 -o m8.rgf");
  good("run m8.rgf --input v.npy --output y.npy");
  EXPECT_THAT(read_floats(path("y.npy")), testing::ElementsAre(1, -16, 448, 0.3125f));
}

TEST_F(Cli, StrippedNeedsWeights) {
  good("compile model.pt2 -o s.rgf --strip");
  EXPECT_THAT(bad("run s.rgf --input x.npy"), HasSubstr("no weights"));
  good("run s.rgf --input x.npy --output y.npy --weights other.safetensors");
  EXPECT_THAT(read_floats(path("y.npy")), near(2));
  good("refit s.rgf --weights other.safetensors -o f.rgf");
  EXPECT_THAT(output("f.rgf"), near(2));
}

TEST_F(Cli, ImmutableRefusesRefits) {
  good("compile model.pt2 -o i.rgf --immutable");
  EXPECT_THAT(output("i.rgf"), near(1));
  EXPECT_THAT(bad("refit i.rgf --weights other.safetensors -o n.rgf"), HasSubstr("immutable"));
  EXPECT_FALSE(std::filesystem::exists(path("n.rgf")));
}

TEST_F(Cli, RefitOptions) {
  good("compile model.pt2 -o m.rgf");
  write_safetensors(path("bias.safetensors"), {{"lin.bias", tensor({3}, {0.5, -1, 8})}});
  EXPECT_THAT(bad("refit m.rgf -w bias.safetensors -o n.rgf"),
              HasSubstr("lin.weight: want f32[3,4]"));
  good("refit m.rgf -w bias.safetensors -o n.rgf --partial");
  EXPECT_THAT(output("n.rgf"), near(1));
  write_safetensors(path("odd.safetensors"),
                    {{"lin.bias", tensor({3}, {1, 1, 1})},
                     {"lin.wieght", tensor({3, 4}, std::vector<float>(12))}});
  EXPECT_THAT(bad("refit m.rgf -w odd.safetensors -o n.rgf"),
              AllOf(HasSubstr("lin.wieght"), HasSubstr("lin.weight")));
  std::filesystem::remove(path("n.rgf"));
  EXPECT_THAT(good("refit m.rgf -w other.safetensors --dry-run"), HasSubstr("constants"));
  EXPECT_FALSE(std::filesystem::exists(path("n.rgf")));
}

TEST_F(Cli, StopAfterAndDump) {
  good("compile model.pt2 --stop-after=lower --dump=out");
  size_t lowered = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path("out"))) {
    const std::string name = entry.path().filename().string();
    EXPECT_THAT(name, HasSubstr("-lower"));
    EXPECT_NO_THROW(ir::parse(read_file(entry.path().string()))) << name;
    ++lowered;
  }
  EXPECT_GE(lowered, 2u);
  good("compile model.pt2 --stop-after=compile --dump=all");
  bool has_hoist = false, has_plan = false;
  for (const auto& entry : std::filesystem::directory_iterator(path("all"))) {
    const std::string name = entry.path().filename().string();
    has_hoist = has_hoist || name.ends_with("-compile-hoist.txt");
    has_plan = has_plan || name.ends_with("-compile.txt");
  }
  EXPECT_TRUE(has_hoist);
  EXPECT_TRUE(has_plan);
}

TEST_F(Cli, Explain) {
  const std::string text = good("explain model.pt2 --backend reference");
  EXPECT_THAT(text, AllOf(HasSubstr("takes 2 of 2 nodes"), HasSubstr("@lin.weight: f32[3,4]")));
  write_unsupported(path("u.pt2"));
  EXPECT_THAT(good("explain u.pt2 --backend reference"),
              AllOf(HasSubstr("refuses 2 nodes"), HasSubstr("decoder.head, model.py:7")));
  EXPECT_THAT(text, HasSubstr("1 segment\n  0 reference: 2 nodes\n"));
  EXPECT_THAT(good("explain u.pt2 --backend reference"), HasSubstr(" PyTorch: "));
  const sources::Json whole = json(good("explain model.pt2 --backend reference --json"));
  EXPECT_THAT(whole.find("text")->string(), testing::NotNull());
  ASSERT_EQ(whole.find("segments")->array()->size(), 1u);
  EXPECT_EQ(*whole.find("segments")->array()->front().find("runs")->string(), "reference");
  const sources::Json parts = json(good("explain u.pt2 --backend reference --json"));
  EXPECT_EQ(*parts.find("segments")->array()->back().find("runs")->string(), "PyTorch");
}

TEST_F(Cli, UnsupportedOpsAreListedWithTheirPlace) {
  write_unsupported(path("u.pt2"));
  EXPECT_THAT(bad("compile u.pt2 -o u.rgf --backend reference"),
              AllOf(HasSubstr("mylib.strange"), HasSubstr("2 nodes"),
                    HasSubstr("decoder.head, model.py:7")));
  EXPECT_FALSE(std::filesystem::exists(path("u.rgf")));
}

TEST_F(Cli, InspectAndJson) {
  const sources::Json compiled = json(good("compile model.pt2 -o m.rgf --optimum s0=4 --json"));
  EXPECT_EQ(*compiled.find("output")->string(), "m.rgf");
  EXPECT_GT(compiled.find("steps")->array()->size(), 3u);
  EXPECT_THAT(good("inspect m.rgf"), AllOf(HasSubstr("x: f32[s0,4]"), HasSubstr("s0 in [1,8] at 4"),
                                           HasSubstr("@lin.weight"), HasSubstr("memory")));
  const sources::Json inspected = json(good("inspect m.rgf --json"));
  EXPECT_EQ(inspected.find("parameters")->array()->size(), 2u);
  const sources::Json ran = json(good("run m.rgf -i x.npy --json"));
  EXPECT_EQ(ran.find("outputs")->array()->size(), 1u);
  const sources::Json refitted = json(good("refit m.rgf -w other.safetensors -o n.rgf --json"));
  EXPECT_EQ(refitted.find("report")->find("parameters")->array()->size(), 2u);
}

TEST_F(Cli, ProfileTimesEveryStep) {
  for (const std::string backend : {"reference", "cpu"}) {
    good("compile model.pt2 -o m.rgf --optimum s0=4 --backend " + backend);
    const sources::Json whole = json(good("profile m.rgf --runs 3 --json"));
    EXPECT_EQ(*whole.find("device")->string(), "cpu");
    EXPECT_EQ(*whole.find("runs")->integer(), 3);
    // Of a run with the four rows that the engine is tuned for.
    EXPECT_EQ(*whole.find("flops")->integer(), 2 * 4 * 3 * 4) << backend;
    EXPECT_GT(*whole.find("run_seconds")->number(), 0);
    ASSERT_GT(whole.find("steps")->array()->size(), 0u);
    const sources::Json& product = whole.find("steps")->array()->front();
    EXPECT_EQ(*product.find("kernel")->string(), backend + ".linear");
    EXPECT_GT(*product.find("seconds")->number(), 0);
    EXPECT_GT(*product.find("roofline_seconds")->number(), 0);
    const auto& peaks = *whole.find("peaks")->array();
    ASSERT_EQ(peaks.size(), 2u);
    EXPECT_EQ(*peaks[0].find("of")->string(), "copy");
    EXPECT_EQ(*peaks[1].find("of")->string(), "f32");
    EXPECT_THAT(*peaks[1].find("source")->string(), StartsWith("measured: product"));
    EXPECT_EQ(*json(good("profile m.rgf -i x.npy --runs 1 --json")).find("flops")->integer(),
              2 * 2 * 3 * 4);
  }
  EXPECT_THAT(good("profile m.rgf"),
              AllOf(StartsWith("model on cpu, "), HasSubstr("medians of 20 runs"),
                    HasSubstr("cpu.linear"), HasSubstr("a run as a whole: "),
                    HasSubstr("roofline of memory: "), HasSubstr("roofline of f32: ")));
  good("compile model.pt2 -o s.rgf --strip");
  EXPECT_THAT(bad("profile s.rgf"), HasSubstr("no weights"));
  good("profile s.rgf --weights other.safetensors");
  EXPECT_THAT(bad("profile m.rgf --device cuda:0"), HasSubstr("cuda:0"));
  EXPECT_THAT(bad("profile m.rgf -i z=x.npy"), HasSubstr("no 'z'; it has x"));
}

TEST_F(Cli, WrongUsageIsTwo) {
  for (const std::string arguments :
       {"", "fly", "compile", "compile model.pt2", "compile model.pt2 -o m.rgf --fast",
        "compile model.pt2 -o m.rgf --precision f8",
        "compile model.pt2 -o m.rgf --strip --immutable", "refit m.rgf",
        "refit m.rgf -w w.safetensors", "run", "run m.rgf --repeat none", "profile",
        "profile m.rgf --runs 0"}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_NE(outcome.err, "") << arguments;
  }
  for (const std::string arguments : {"--help", "compile --help", "refit --help", "--version"}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments;
    EXPECT_THAT(outcome.out, HasSubstr("egraft")) << arguments;
  }
}

TEST_F(Cli, WhatIsWrongWithTheInput) {
  good("compile model.pt2 -o m.rgf");
  EXPECT_THAT(bad("compile missing.pt2 -o n.rgf"), HasSubstr("missing.pt2"));
  EXPECT_THAT(bad("compile x.npy -o n.rgf"), HasSubstr("x.npy"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --backend gpu"), HasSubstr("no backend 'gpu'"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --without fold-batchnorm"),
              HasSubstr("did you mean 'fold-batch-norm'"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --without hoist"), HasSubstr("cannot be disabled"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --optimum s9=4"), HasSubstr("no symbol 's9'"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --optimum s0=9"), HasSubstr("outside of its range"));
  EXPECT_THAT(bad("compile model.pt2 -o n.rgf --optimum s0=x"), HasSubstr("want symbol=size"));
  EXPECT_THAT(bad("compile model.pt2 -o no/such/folder/n.rgf"), HasSubstr("no/such/folder"));
  EXPECT_THAT(bad("run model.pt2 -i x.npy"), HasSubstr("model.pt2"));
  EXPECT_THAT(bad("refit m.rgf -w x.npy -o n.rgf"), HasSubstr("x.npy"));
  sources::write_npy(path("wide.npy"), tensor({2, 5}, std::vector<float>(10)).view());
  EXPECT_THAT(bad("run m.rgf -i wide.npy"),
              AllOf(HasSubstr("want f32[s0,4]"), HasSubstr("have [2,5]")));
  const std::string bytes = read_file(path("m.rgf"));
  write_file(path("cut.rgf"), bytes.substr(0, bytes.size() / 2));
  bad("run cut.rgf -i x.npy");
  EXPECT_FALSE(std::filesystem::exists(path("n.rgf")));
}

}  // namespace
}  // namespace regraft::cli::test
