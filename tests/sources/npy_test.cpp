#include "sources/npy.h"

#include <filesystem>

#include <gmock/gmock.h>

#include "check.h"
#include "support/archives.h"
#include "tensor/convert.h"

namespace regraft::sources {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string npy(const std::string& header, const std::string& data, int major = 1) {
  std::string out("\x93NUMPY\0\0", 8);
  out[6] = static_cast<char>(major);
  const auto length = static_cast<uint32_t>(header.size());
  out.append(reinterpret_cast<const char*>(&length), major == 1 ? 2 : 4);
  return out + header + data;
}

std::string header_of(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
}

void read_all(const Record& record) { fuzz::consume(parse_npy(record, "t").view); }

std::string failure(const std::string& bytes) {
  return error_of([&] { read_all(exact(bytes)); });
}

TEST(Npy, ReadsEveryVersionAndOrder) {
  const std::string data = bytes_of({0, 1, 2, 3, 4, 5});
  for (const int major : {1, 2, 3}) {
    const SourceTensor c = parse_npy(exact(npy(header_of("<f4", "(2, 3)"), data, major)), "t");
    EXPECT_EQ(c.view.spec(), "f32[2,3]");
    EXPECT_THAT(values(c.view), ElementsAre(0, 1, 2, 3, 4, 5));
  }
  const SourceTensor fortran = parse_npy(exact(small_npy()), "t");
  EXPECT_THAT(fortran.view.strides, ElementsAre(1, 2));
  EXPECT_THAT(values(fortran.view), ElementsAre(0, 2, 4, 1, 3, 5));
}

TEST(Npy, ReadsScalarsVectorsAndEmptyArrays) {
  EXPECT_THAT(values(parse_npy(exact(npy(header_of("<f4", "()"), bytes_of({7}))), "t").view),
              ElementsAre(7));
  EXPECT_THAT(values(parse_npy(exact(npy(header_of("<f4", "(1,)"), bytes_of({7}))), "t").view),
              ElementsAre(7));
  EXPECT_EQ(parse_npy(exact(npy(header_of("<f4", "(3, 0)"), "")), "t").view.spec(), "f32[3,0]");
  const std::string other = "{\"shape\":(2,),\"fortran_order\":True,\"descr\":\"|u1\"}";
  EXPECT_THAT(values(parse_npy(exact(npy(other, "\1\2")), "t").view), ElementsAre(1, 2));
}

TEST(Npy, RefusesHostileHeaders) {
  const std::string data(8, '\0');
  EXPECT_EQ(failure(npy(header_of("<f8", "()"), data)), "no error");
  for (const char* shape :
       {"(2)", "[1]", "(-1,)", "(2,)", "(1.0,)", "(1,,)", "(,)", "(1", "(9223372036854775808,)",
        "(4611686018427387904, 4)", "(0, 9223372036854775807)", "(True,)", "(1L,)"}) {
    EXPECT_THAT(failure(npy(header_of("<f8", shape), data)), HasSubstr("corrupt")) << shape;
  }
  for (const char* header :
       {"", "{", "{}", "{'descr': '<f8'}", "{'descr': '<f8', 'fortran_order': 0, 'shape': ()}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (), 'x': 1}",
        "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': ()} x",
        "{'descr': '<f8 , 'fortran_order': False, 'shape': ()}",
        "{'descr': '\\x3cf8', 'fortran_order': False, 'shape': ()}"}) {
    EXPECT_THAT(failure(npy(header, data)), HasSubstr("corrupt")) << header;
  }
  std::string dims = "(";
  for (int i = 0; i < 65; ++i)
    dims += "1,";
  EXPECT_THAT(failure(npy(header_of("<f8", dims + ")"), data)), HasSubstr("at most 64"));
  EXPECT_THAT(failure(npy(std::string(70'000, ' '), data, 2)), HasSubstr("at most 65536"));
  EXPECT_THAT(failure(npy(header_of("<f8", "()"), data + "x")), HasSubstr("does not take 9 bytes"));
}

TEST(Npy, RefusesOtherVersionsAndDtypes) {
  const std::string data(8, '\0');
  EXPECT_THAT(failure(npy(header_of("<f8", "()"), data, 4)), HasSubstr("version: [sources]"));
  EXPECT_THAT(failure(npy(header_of(">f8", "()"), data)), HasSubstr("want little-endian"));
  for (const char* descr : {"|O", "<u8", "<U2", "<M8[ns]", "|V8", "f8", "=f8"}) {
    EXPECT_THAT(failure(npy(header_of(descr, "()"), data)), HasSubstr("unsupported")) << descr;
  }
  EXPECT_THAT(failure(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': ()}", data)),
              HasSubstr("structured"));
  EXPECT_THAT(failure("\x93NUMPZ\1\0\0\0\0\0"), HasSubstr("no magic"));
}

class NpyWriter : public testing::Test {
 protected:
  const std::string path_ = testing::TempDir() + "writer.npy";
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(NpyWriter, WhatIsWrittenReadsBackInEveryDtype) {
  for (int id = 0; id < kDTypeCount; ++id) {
    const auto dtype = static_cast<DType>(id);
    if (!is_npy_dtype(dtype)) continue;
    const std::vector<double> want = {0, 1, 1, 0, 1, 0};
    for (const Dims& dims : {Dims{6}, Dims{2, 3}, Dims{1, 6, 1}}) {
      Tensor tensor(dtype, dims);
      copy({want.data(), DType::F64, dims}, tensor.mutable_view());
      write_npy(path_, tensor.view());
      const SourceTensor read = read_npy(path_);
      EXPECT_EQ(read.view.spec(), tensor.view().spec());
      EXPECT_EQ(values(read.view), want);
    }
  }
  const float x[] = {1, 2, 3, 4, 5, 6};
  write_npy(path_, {x, DType::F32, {3, 2}, {1, 3}});
  EXPECT_THAT(values(read_npy(path_).view), ElementsAre(1, 4, 2, 5, 3, 6));
  write_npy(path_, {x, DType::F32, {}});
  EXPECT_EQ(read_npy(path_).view.spec(), "f32[]");
  write_npy(path_, {nullptr, DType::F32, {0, 2}});
  EXPECT_EQ(read_npy(path_).view.spec(), "f32[0,2]");
}

TEST_F(NpyWriter, RefusesWhatNumPyDoesNotHave) {
  const uint16_t x = 0;
  for (const DType dtype : {DType::BF16, DType::F8E4M3FN, DType::F8E5M2}) {
    const std::string want = base::cat("NumPy has no dtype ", name(dtype), ": cast to f32 first");
    EXPECT_THAT(error_of([&] { write_npy(path_, {&x, dtype, {1}}); }), HasSubstr(want));
  }
}

TEST(Npy, VariantsNeverCrash) { read_variants(small_npy(), read_all); }

}  // namespace
}  // namespace regraft::sources
