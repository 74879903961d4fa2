#include "sources/safetensors.h"

#include <filesystem>

#include <gmock/gmock.h>

#include "base/mapped_file.h"
#include "check.h"
#include "support/archives.h"

namespace regraft::sources {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string file_of(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

void read_all(const Record& record) { fuzz::consume(*make_safetensors_source(record, "t")); }

std::string failure(const std::string& bytes) {
  return error_of([&] { read_all(exact(bytes)); });
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, ReadsTensors) {
  const auto source = make_safetensors_source(exact(small_safetensors()), "t");
  EXPECT_THAT(source->names(), ElementsAre("a", "b", "c", "e"));
  EXPECT_THAT(values(source->read("a").view), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(values(source->read("b").view), ElementsAre(0, 1, 1));
  EXPECT_THAT(values(source->read("c").view), ElementsAre(-5));  // At an odd offset.
  EXPECT_EQ(source->spec("e").spec(), "bf16[0,2]");
  EXPECT_EQ(source->read("e").view.count(), 0);
  EXPECT_TRUE(source->read("a").stable);
  EXPECT_THAT(error_of([&] { source->read("A"); }), HasSubstr("not_found: [sources] t: no tensor"));
}

TEST(Safetensors, EmptyFileAndPaddedHeader) {
  EXPECT_EQ(failure(file_of("{}")), "no error");
  EXPECT_EQ(failure(file_of("{}      ")), "no error");
  EXPECT_EQ(failure(file_of("{\"__metadata__\":{\"a\":\"b\"}}")), "no error");
}

TEST(Safetensors, OffsetsTileTheData) {
  const auto two = [](const char* a, const char* b, size_t bytes) {
    return failure(
        file_of("{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}",
                std::string(bytes, 'x')));
  };
  EXPECT_EQ(two("[0,4]", "[4,8]", 8), "no error");
  EXPECT_EQ(two("[4,8]", "[0,4]", 8), "no error");
  EXPECT_THAT(two("[0,4]", "[0,4]", 8), HasSubstr("overlap"));
  EXPECT_THAT(two("[0,4]", "[3,7]", 8), HasSubstr("overlap"));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9), HasSubstr("hole"));
  EXPECT_THAT(two("[1,5]", "[5,9]", 9), HasSubstr("hole"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 9), HasSubstr("want 8 bytes of data, have 9"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 7), HasSubstr("want 8 bytes of data, have 7"));
}

TEST(Safetensors, RefusesHostileEntries) {
  const auto one = [](const char* dtype, const char* shape, const char* offsets) {
    return failure(file_of("{" + entry("a", dtype, shape, offsets) + "}", std::string(8, 'x')));
  };
  EXPECT_EQ(one("F32", "[2]", "[0,8]"), "no error");
  EXPECT_EQ(one("F64", "[]", "[0,8]"), "no error");
  for (const char* shape :
       {"[-2]", "[2.0]", "[1e0]", "\"2\"", "null", "[[2]]", "[3]", "[4611686018427387904,4]",
        "[9223372036854775807,9223372036854775807]", "[0]", "[0,4611686018427387904,4]"}) {
    EXPECT_THAT(one("F32", shape, "[0,8]"), HasSubstr("corrupt")) << shape;
  }
  for (const char* offsets : {"[8,0]", "[-8,0]", "[0]", "[0,8,8]", "null",
                              "[0,9223372036854775807]", "[0,18446744073709551615]", "[0.0,8.0]"}) {
    EXPECT_THAT(one("F32", "[2]", offsets), HasSubstr("corrupt")) << offsets;
  }
  for (const char* dtype : {"F8_E8M0", "U16", "f32", ""}) {
    EXPECT_THAT(one(dtype, "[2]", "[0,8]"), HasSubstr("unsupported: [sources] t: a: dtype"));
  }
  std::string dims = "[1";
  for (int i = 0; i < 100; ++i)
    dims += ",1";
  EXPECT_THAT(one("U8", (dims + ",8]").c_str(), "[0,8]"), HasSubstr("at most 64"));
}

TEST(Safetensors, RefusesHostileHeaders) {
  EXPECT_THAT(failure(""), HasSubstr("want a header length"));
  EXPECT_THAT(failure(std::string(8, '\xff')), HasSubstr("corrupt"));
  EXPECT_THAT(failure(file_of("{}").substr(0, 9)), HasSubstr("want a header of 2 bytes, have 1"));
  for (const char* header :
       {"", "[]", "null", "{\"a\":1}", "{\"a\":{}}", "{\"a\":{\"dtype\":\"F32\"}}", "{\"a\":NaN}",
        "{} x", "{\"a\":1,\"a\":2}"}) {
    EXPECT_THAT(failure(file_of(header)), HasSubstr("corrupt")) << header;
  }
  EXPECT_THAT(failure(file_of(std::string(1'000'000, '['))), HasSubstr("less nesting"));
}

TEST(Safetensors, BoolsThatAreNeither0Nor1) {
  EXPECT_THAT(error_of([] {
                make_safetensors_source(
                    exact(file_of("{" + entry("a", "BOOL", "[2]", "[0,2]") + "}", "\1\2")), "t")
                    ->read("a");
              }),
              HasSubstr("corrupt"));
}

class SafetensorsWriter : public testing::Test {
 protected:
  const std::string path_ = testing::TempDir() + "writer.safetensors";
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(SafetensorsWriter, WhatIsWrittenReadsBack) {
  const std::vector<float> f = {1, 2, 3, 4, 5, 6};
  const std::vector<uint8_t> u = {7, 8, 9};
  const int64_t i = -3;
  write_safetensors(path_,
                    {{"u", {u.data(), DType::U8, {3}}},
                     {"t\"ra\n\xc3\xa9", {f.data(), DType::F32, {3, 2}, {1, 3}}},
                     {"f", {f.data(), DType::F32, {2, 3}}},
                     {"i", {&i, DType::I64, {}}},
                     {"none", {nullptr, DType::F16, {0}}}},
                    {{"format", "pt"}});
  const auto source = open_source(path_);
  EXPECT_THAT(source->names(), ElementsAre("i", "f", "t\"ra\n\xc3\xa9", "none", "u"));
  EXPECT_THAT(values(source->read("f").view), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(values(source->read("t\"ra\n\xc3\xa9").view), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(values(source->read("u").view), ElementsAre(7, 8, 9));
  EXPECT_THAT(values(source->read("i").view), ElementsAre(-3));
  EXPECT_EQ(source->read("none").view.count(), 0);
  const auto header = load<uint64_t>(base::MappedFile::open(path_)->bytes(), 0);
  EXPECT_EQ((header + 8) % 64, 0u);
}

TEST_F(SafetensorsWriter, RefusesWhatTheFormatCannotHold) {
  const double x[2] = {};
  const auto failure = [&](std::vector<std::pair<std::string, TensorView>> tensors) {
    return error_of([&] { write_safetensors(path_, tensors); });
  };
  EXPECT_THAT(failure({{"z", {x, DType::C128, {1}}}}), HasSubstr("no dtype c128"));
  EXPECT_THAT(failure({{"a", {x, DType::F64, {1}}}, {"a", {x, DType::F64, {1}}}}),
              HasSubstr("given twice"));
  EXPECT_THAT(failure({{"__metadata__", {x, DType::F64, {1}}}}), HasSubstr("reserved"));
  EXPECT_THAT(failure({{"\xff", {x, DType::F64, {1}}}}), HasSubstr("not UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST(Safetensors, VariantsNeverCrash) { read_variants(small_safetensors(), read_all); }

}  // namespace
}  // namespace regraft::sources
