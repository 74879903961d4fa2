#include "engine_file/engine_file.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "engine_file/encode.h"
#include "engine_file/header.h"
#include "plan/realised.h"
#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_bytes;
using testing::floats;
using ::testing::HasSubstr;
using testing::two_layer_engine;
using testing::Weights32;

class EngineFile : public ::testing::Test {
 protected:
  EngineFile()
      : folder_(std::filesystem::temp_directory_path() /
                ("regraft_engine_file_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~EngineFile() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  static std::vector<float> answer(const Engine& engine) {
    Weights32 input;
    input.fill("x", {3, 4}, 77);
    return floats(engine.run({input.at("x").view()})[0].view());
  }

  static std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Parses bytes as a file would be.
  static engine::Image parse(const std::string& bytes) {
    auto memory = std::make_shared<Tensor>(DType::U8, Dims{static_cast<int64_t>(bytes.size())});
    auto* data = memory->mutable_view().as_mutable<std::byte>();
    std::memcpy(data, bytes.data(), bytes.size());
    return engine_file::parse({data, bytes.size()}, memory, "test.rgf");
  }

  static engine_file::Header header_of(const std::string& bytes) {
    engine_file::Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
  }

  // Makes header and manifest checksums right again.
  static void fix_checksums(std::string& bytes) {
    engine_file::Header header = header_of(bytes);
    if (header.manifest_bytes <= bytes.size() - sizeof header) {
      header.manifest_checksum = base::hash64(bytes.data() + sizeof header, header.manifest_bytes);
    }
    header.checksum = base::hash64(&header, offsetof(engine_file::Header, checksum));
    std::memcpy(bytes.data(), &header, sizeof header);
  }

  static void expect_refused(const std::string& bytes, ErrorCode code) {
    try {
      parse(bytes);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
    }
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(EngineFile, KeepsEverything) {
  testing::PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 64, 8);
  b.plan.guards = {{mod(n, 4), SizeGuard::Relation::LessEqual, 2}};
  const int32_t x = b.input("x", DType::F32, {n, 4});
  const int32_t p = b.parameter("p", DType::F32, {4}, {"q", "r"});
  const int32_t table = b.parameter("table", DType::I64, {3}, {}, 7);
  b.plan.parameters.back().optional = true;
  b.alias_output("table", b.constant("table", table));
  const int32_t c = b.constant("c", p, DType::F16);
  const int32_t wide = b.shape("reference.cast", {c}, DType::F32, {4}, {{"dtype", DType::F32}});
  b.output("y", "reference.add", {x, wide}, DType::F32, {n, 4},
           {{"scalar", Attribute()},
            {"flag", true},
            {"size", n * 2 + 1},
            {"number", -0.25},
            {"text", std::string("a \"b\"\n")},
            {"sizes", SymDims{n, 3}},
            {"numbers", std::vector<double>{1, 0.5}}});
  b.plan.compute_steps.back().in_place = true;
  b.plan.compute_steps.back().origin = "layer.add";
  engine::Image image;
  image.plan = b.plan;
  image.name = "model";
  image.metadata = {{"settings", "{}"}, {"nodes", "a\nb"}};
  image.unused_parameters = {"num_batches_tracked"};
  image.realised = "regraft realised plan 1\n";
  Weights32 weights;
  weights.fill("p", {4}, 1).set("table", Tensor(DType::I64, {3}));
  engine_file::write(path("a.rgf"), image, {weights.at("p").view(), weights.at("table").view()});
  const engine::Image read = engine_file::read(path("a.rgf"));
  EXPECT_EQ(plan::fingerprint(read.plan), plan::fingerprint(image.plan));
  EXPECT_EQ(to_string(read.plan), to_string(image.plan));
  EXPECT_EQ(read.name, image.name);
  EXPECT_EQ(read.metadata, image.metadata);
  EXPECT_EQ(read.unused_parameters, image.unused_parameters);
  EXPECT_EQ(read.realised, image.realised);
  EXPECT_FALSE(read.immutable);
  EXPECT_FALSE(read.stripped);
  const SourceTensor tensor = read.weights->read("p");
  EXPECT_TRUE(tensor.stable);
  EXPECT_EQ(floats(tensor.view), floats(weights.at("p").view()));
  EXPECT_THROW(read.weights->read("other"), Error);
}

TEST_F(EngineFile, EmbeddedEnginesAnswerAndRefitAsBefore) {
  Engine engine = two_layer_engine(1);
  engine.refit(*testing::two_layer_weights(2).source());
  engine.save(path("a.rgf"));
  for (const bool adopt : {true, false}) {
    EngineOptions options;
    options.adopt = adopt;
    Engine loaded = Engine::load(path("a.rgf"), options);
    EXPECT_EQ(loaded.name(), "test");
    EXPECT_EQ(loaded.realised_digest(), engine.realised_digest());
    EXPECT_EQ(constant_bytes(loaded), constant_bytes(engine));
    EXPECT_EQ(answer(loaded), answer(engine));
    // The mapped file is where the parameters stay; a partial refit reads them there.
    EXPECT_EQ(loaded.memory().retained, 0u);
    Weights32 change;
    change.fill("fold.scale", {5}, 3);
    RefitOptions partial;
    partial.partial = true;
    loaded.refit(*change.source(), partial);
    engine.refit(*change.source(), partial);
    EXPECT_EQ(constant_bytes(loaded), constant_bytes(engine));
    engine.refit(*testing::two_layer_weights(2).source());
  }
}

TEST_F(EngineFile, SavingOverTheFileInUse) {
  two_layer_engine(1).save(path("a.rgf"));
  Engine loaded = Engine::load(path("a.rgf"));
  loaded.refit(*testing::two_layer_weights(2).source());
  loaded.save(path("a.rgf"));
  EXPECT_EQ(constant_bytes(Engine::load(path("a.rgf"))), constant_bytes(two_layer_engine(2)));
  EXPECT_EQ(constant_bytes(loaded), constant_bytes(two_layer_engine(2)));
}

TEST_F(EngineFile, StrippedEnginesWaitForWeights) {
  SaveOptions options;
  options.form = SaveForm::Stripped;
  two_layer_engine(1).save(path("s.rgf"), options);
  EXPECT_LT(std::filesystem::file_size(path("s.rgf")), 6000u);
  Engine stripped = Engine::load(path("s.rgf"));
  EXPECT_EQ(stripped.generation(), 0u);
  EXPECT_THROW(answer(stripped), Error);
  EXPECT_THROW(stripped.save(path("t.rgf")), Error);
  stripped.save(path("t.rgf"), options);
  EXPECT_EQ(contents(path("t.rgf")), contents(path("s.rgf")));
  stripped.refit(*testing::two_layer_weights(2).source());
  EXPECT_EQ(constant_bytes(stripped), constant_bytes(two_layer_engine(2)));
}

TEST_F(EngineFile, StrippedEnginesBringTheirOptionalParameters) {
  plan::Plan plan = testing::two_layer_plan();
  plan.parameters[4].optional = true;  // shift
  Weights32 weights = testing::two_layer_weights(1), checkpoint;
  for (const char* name : {"fold.weight", "fold.bias", "fold.scale", "head.weight"}) {
    checkpoint.set(name, weights.at(name));
  }
  EngineOptions forgetful;
  forgetful.retain = Retain::None;
  SaveOptions options;
  options.form = SaveForm::Stripped;
  testing::make_engine(plan, weights.source(), forgetful).save(path("s.rgf"), options);
  Engine stripped = Engine::load(path("s.rgf"), forgetful);
  stripped.save(path("t.rgf"), options);
  EXPECT_EQ(contents(path("t.rgf")), contents(path("s.rgf")));
  for (int i = 0; i < 2; ++i) {
    stripped.refit(*checkpoint.source());
    EXPECT_EQ(constant_bytes(stripped), constant_bytes(two_layer_engine(1)));
  }
}

// Nothing to store is not the same as not stored.
TEST_F(EngineFile, StrippedEnginesBringEmptyOptionalParameters) {
  testing::PlanBuilder b;
  const int32_t x = b.input("x", DType::F32, {3, 4});
  const int32_t w = b.constant("w", b.parameter("w", DType::F32, {4}));
  const int32_t past = b.constant("past", b.parameter("past", DType::F32, {0, 4}));
  b.plan.parameters.back().optional = true;
  const int32_t all = b.compute("reference.cat", {past, x}, DType::F32, {3, 4}, {{"dim", 0}});
  b.output("y", "reference.add", {all, w}, DType::F32, {3, 4});
  Weights32 weights, checkpoint;
  weights.fill("w", {4}, 1).set("past", Tensor(DType::F32, {0, 4}));
  checkpoint.fill("w", {4}, 2);
  SaveOptions options;
  options.form = SaveForm::Stripped;
  testing::make_engine(b.plan, weights.source()).save(path("s.rgf"), options);
  Engine stripped = Engine::load(path("s.rgf"));
  stripped.refit(*checkpoint.source());
  EXPECT_EQ(stripped.generation(), 1u);
}

TEST_F(EngineFile, ImmutableEnginesAnswerTheSameAndRefuseRefits) {
  const Engine engine = two_layer_engine(1);
  SaveOptions options;
  options.form = SaveForm::Immutable;
  engine.save(path("i.rgf"), options);
  Engine loaded = Engine::load(path("i.rgf"));
  EXPECT_TRUE(loaded.is_immutable());
  EXPECT_EQ(answer(loaded), answer(engine));
  EXPECT_EQ(constant_bytes(loaded), constant_bytes(engine));
  try {
    loaded.refit(*testing::two_layer_weights(2).source());
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::State);
    EXPECT_THAT(error.what(), HasSubstr("immutable"));
  }
  loaded.save(path("j.rgf"));
  EXPECT_EQ(answer(Engine::load(path("j.rgf"))), answer(engine));
  options.form = SaveForm::Stripped;
  EXPECT_THROW(loaded.save(path("k.rgf"), options), Error);
}

TEST_F(EngineFile, LayoutDoesNotDependOnWeights) {
  two_layer_engine(1).save(path("a.rgf"));
  two_layer_engine(2).save(path("b.rgf"));
  Weights32 zeros;
  zeros.set("fold.weight", {5, 4}, std::vector<float>(20)).set("fold.bias", {5}, {0, 0, 0, 0, 0});
  zeros.set("fold.scale", {5}, {0, 0, 0, 0, 0}).set("head.weight", {3, 5}, std::vector<float>(15));
  zeros.set("shift", {3}, {0, 0, 0});
  testing::make_engine(testing::two_layer_plan(), zeros.source()).save(path("c.rgf"));
  const std::string a = contents(path("a.rgf"));
  const engine_file::Header header = header_of(a);
  for (const char* other : {"b.rgf", "c.rgf"}) {
    const std::string b = contents(path(other));
    ASSERT_EQ(a.size(), b.size());
    // Before the data, only 8-byte checksums differ: one for each of 5 tensors, manifest, header.
    std::vector<size_t> fields;
    for (size_t i = 0; i < header.data_offset; ++i) {
      if (a[i] != b[i] && (fields.empty() || i - fields.back() >= 8)) fields.push_back(i / 8 * 8);
    }
    EXPECT_EQ(fields.size(), 7u) << other;
  }
}

TEST_F(EngineFile, SameEngineSameBytes) {
  two_layer_engine(1).save(path("a.rgf"));
  two_layer_engine(1).save(path("b.rgf"));
  Engine::load(path("a.rgf")).save(path("c.rgf"));
  EXPECT_EQ(contents(path("a.rgf")), contents(path("b.rgf")));
  EXPECT_EQ(contents(path("a.rgf")), contents(path("c.rgf")));
}

TEST_F(EngineFile, EveryTruncationIsRefused) {
  two_layer_engine(1).save(path("a.rgf"));
  const std::string whole = contents(path("a.rgf"));
  for (size_t size = 0; size < whole.size(); ++size) {
    expect_refused(whole.substr(0, size), ErrorCode::Corrupt);
  }
  expect_refused(whole + '\0', ErrorCode::Corrupt);
  // Also with a header that agrees with the size.
  for (size_t size = sizeof(engine_file::Header); size < whole.size(); ++size) {
    std::string bytes = whole.substr(0, size);
    engine_file::Header header = header_of(bytes);
    header.file_bytes = size;
    std::memcpy(bytes.data(), &header, sizeof header);
    fix_checksums(bytes);
    expect_refused(bytes, ErrorCode::Corrupt);
  }
}

TEST_F(EngineFile, EveryFlippedBitIsNoticed) {
  two_layer_engine(1).save(path("a.rgf"));
  const std::string whole = contents(path("a.rgf"));
  const engine_file::Header header = header_of(whole);
  for (size_t i = 0; i < sizeof header + header.manifest_bytes; ++i) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << i % 8));
    EXPECT_THROW(parse(bytes), Error) << i;
  }
  // Of tensors when they are read; padding is nobody's.
  std::string bytes = whole;
  bytes[header.data_offset + 3] ^= 1;
  engine::Image image = parse(bytes);
  EXPECT_THROW(image.weights->read("fold.weight"), Error);
  EXPECT_THROW(engine::create(std::move(image)), Error);
}

// An attacker makes checksums fit. Whatever is read then has passed plan::verify.
TEST_F(EngineFile, HostileManifestsGiveTypedErrors) {
  two_layer_engine(1).save(path("a.rgf"));
  const std::string whole = contents(path("a.rgf"));
  const size_t end = sizeof(engine_file::Header) + header_of(whole).manifest_bytes;
  int refused = 0, read = 0;
  for (size_t i = sizeof(engine_file::Header); i < end; ++i) {
    for (const int value : {0, 1, 0x7f, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(value);
      fix_checksums(bytes);
      try {
        const engine::Image image = parse(bytes);
        plan::verify(image.plan);
        ++read;
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == ErrorCode::Corrupt || error.code() == ErrorCode::Version)
            << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(read, 1000);
}

TEST_F(EngineFile, OtherVersionsAreNamed) {
  two_layer_engine(1).save(path("a.rgf"));
  std::string bytes = contents(path("a.rgf"));
  engine_file::Header header = header_of(bytes);
  header.layout = 2;
  std::memcpy(bytes.data(), &header, sizeof header);
  expect_refused(bytes, ErrorCode::Version);
  expect_refused("PK\3\4" + std::string(100, ' '), ErrorCode::Corrupt);
}

TEST_F(EngineFile, BadPaths) {
  EXPECT_THROW(Engine::load(path("missing.rgf")), Error);
  EXPECT_THROW(Engine::load(path("")), Error);
  EXPECT_THROW(two_layer_engine(1).save(path("missing/x.rgf")), Error);
  std::ofstream(path("empty.rgf")).close();
  EXPECT_THROW(Engine::load(path("empty.rgf")), Error);
}

}  // namespace
}  // namespace regraft
