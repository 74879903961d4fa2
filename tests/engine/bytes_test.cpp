// Engine files in memory and inside other files.
#include <cstdio>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_bytes;
using ::testing::HasSubstr;
using testing::two_layer_engine;

std::string write_file(const std::string& name, size_t before, const std::vector<std::byte>& data) {
  const std::string path = ::testing::TempDir() + name;
  std::ofstream file(path, std::ios::binary);
  file << std::string(before, 'x');
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  file << "behind it";
  return path;
}

TEST(EngineBytes, AreThoseOfTheFile) {
  const Engine engine = two_layer_engine(1);
  const std::string path = ::testing::TempDir() + "bytes.rgf";
  engine.save(path);
  std::ifstream file(path, std::ios::binary);
  const std::string saved((std::istreambuf_iterator<char>(file)), {});
  const std::vector<std::byte> bytes = engine.serialize();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), saved);
}

TEST(EngineBytes, GiveTheEngineBack) {
  const Engine engine = two_layer_engine(1);
  std::vector<std::byte> bytes = engine.serialize();
  Engine again = Engine::deserialize(bytes);
  bytes.assign(bytes.size(), std::byte(0));  // It has its own copy.
  EXPECT_EQ(constant_bytes(again), constant_bytes(engine));
  again.refit(*testing::two_layer_weights(2).source());
  EXPECT_EQ(constant_bytes(again), constant_bytes(two_layer_engine(2)));
  SaveOptions stripped;
  stripped.form = SaveForm::Stripped;
  EXPECT_EQ(Engine::deserialize(engine.serialize(stripped)).generation(), 0u);
}

TEST(EngineBytes, EveryTruncationIsAnError) {
  const std::vector<std::byte> bytes = two_layer_engine(1).serialize();
  for (size_t end = 0; end < bytes.size(); end += 13) {
    EXPECT_THROW(Engine::deserialize({bytes.data(), end}), Error) << end;
  }
}

TEST(EngineBytes, InsideAnotherFile) {
  const Engine engine = two_layer_engine(1);
  const std::vector<std::byte> bytes = engine.serialize();
  const std::string path = write_file("inside", 4096, bytes);
  EXPECT_EQ(constant_bytes(Engine::load_part(path, 4096, bytes.size())), constant_bytes(engine));
  for (const auto& [offset, size] : std::vector<std::pair<uint64_t, uint64_t>>{
           {4096, UINT64_MAX}, {UINT64_MAX - 63, 64}, {4097, bytes.size()}, {4096, 1 << 30}}) {
    try {
      Engine::load_part(path, offset, size);
      FAIL() << offset;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Corrupt) << error.what();
    }
  }
  EXPECT_THROW(Engine::load_part(path, 0, bytes.size()), Error);
  EXPECT_THROW(Engine::load_part(path + ".none", 0, 64), Error);
}

TEST(EngineBytes, ConstantValuesAreBeforePacking) {
  const Engine engine = two_layer_engine(1);
  const auto values = engine.constant_values();
  ASSERT_EQ(values.size(), engine.constants().size());
  const auto head = testing::two_layer_weights(1).at("head.weight");
  const auto found = std::find_if(values.begin(), values.end(),
                                  [](const auto& value) { return value.first == "w1"; });
  ASSERT_NE(found, values.end());
  EXPECT_EQ(testing::floats(found->second.view()), testing::floats(head.view()));
}

}  // namespace
}  // namespace regraft
