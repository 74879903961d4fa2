#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>

#include "check.h"
#include "regraft/weight_source.h"
#include "support/archives.h"

namespace regraft::sources {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class OpenSource : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) {
    const std::string path = testing::TempDir() + name;
    std::ofstream(path, std::ios::binary) << bytes;
    paths_.push_back(path);
    return path;
  }
  std::string failure(const std::string& bytes) {
    const std::string path = write("failure.bin", bytes);
    return error_of([&] { open_source(path); });
  }
  void TearDown() override {
    for (const std::string& path : paths_)
      std::filesystem::remove(path);
  }

 private:
  std::vector<std::string> paths_;
};

TEST_F(OpenSource, TellsFormatsApartByContent) {
  const std::string pt2 = write("weights.bin", small_pt2().finish());
  EXPECT_EQ(open_source(pt2)->names().size(), 7u);
  EXPECT_EQ(open_source(pt2)->description(), pt2);
  const std::string safetensors = write("weights.pt2", small_safetensors());
  EXPECT_THAT(open_source(safetensors)->names(), ElementsAre("a", "b", "c", "e"));
}

TEST_F(OpenSource, TensorsOutliveTheSource) {
  for (const std::string& bytes : {small_pt2().finish(), small_safetensors()}) {
    const std::string path = write("outlive.bin", bytes);
    std::vector<SourceTensor> tensors;
    const auto source = open_source(path);
    for (const std::string& name : source->names())
      tensors.push_back(source->read(name));
    for (const SourceTensor& tensor : tensors) {
      EXPECT_TRUE(tensor.owner != nullptr);
      fuzz::consume(tensor.view);
    }
  }
}

TEST_F(OpenSource, ReadsFromManyThreads) {
  Pt2Writer writer = small_pt2();
  writer.style.deflate = true;
  const auto source = open_source(write("threads.pt2", writer.finish()));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] { fuzz::consume(*source); });
  for (std::thread& thread : threads)
    thread.join();
}

TEST_F(OpenSource, SaysWhatOtherFilesAre) {
  EXPECT_THAT(failure(small_npy()), HasSubstr("a .npy file"));
  EXPECT_THAT(failure("\x80\x02}q"), HasSubstr("a pickle"));
  EXPECT_THAT(failure("{\"weight_map\":{}}"), HasSubstr("sharded checkpoint"));
  EXPECT_THAT(failure(""), HasSubstr("neither"));
  EXPECT_THAT(failure("hello, world"), HasSubstr("unsupported"));
}

TEST(OpenSourcePath, MissingFilesAndFolders) {
  const auto code = [](const std::string& path) {
    try {
      open_source(path);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::Internal;
  };
  EXPECT_EQ(code("/nonexistent/weights.pt2"), ErrorCode::NotFound);
  EXPECT_EQ(code(testing::TempDir()), ErrorCode::Io);
}

SourceTensor tensor(TensorView view) { return {std::move(view), {}, false}; }

TEST(MakeSource, GivesTensorsByName) {
  const float x[] = {1, 2, 3, 4};
  const auto source = make_source({{"b", tensor({x, DType::F32, {4}})},
                                   {"a", tensor({x, DType::F32, {2, 2}, {1, 2}})},
                                   {"none", tensor({nullptr, DType::I64, {0}})}});
  EXPECT_THAT(source->names(), ElementsAre("b", "a", "none"));
  EXPECT_EQ(source->description(), "mapping of 3 tensors");
  EXPECT_EQ(source->read("b").view.data, x);
  EXPECT_EQ(source->spec("b").data, nullptr);
  EXPECT_THAT(source->spec("a").strides, ElementsAre(1, 2));
  EXPECT_THAT(error_of([&] { source->read("nonee"); }), HasSubstr("nearest name is 'none'"));
}

TEST(SelectTensors, HasTheWantedNamesThatTheSourceHas) {
  const float value = 3;
  const auto all = make_source({{"a", {TensorView(&value, DType::F32, {1}), nullptr, false}},
                                {"b", {TensorView(&value, DType::F32, {1}), nullptr, false}}});
  const auto some = select_tensors(all, {"b", "c"});
  EXPECT_THAT(some->names(), ElementsAre("b"));
  EXPECT_EQ(some->read("b").view.data, &value);
  EXPECT_EQ(some->spec("b").dims, Dims{1});
  EXPECT_THROW(some->read("a"), Error);
  EXPECT_THROW(some->spec("a"), Error);
}

TEST(MakeSource, ChecksViews) {
  const double x[4] = {};
  const auto failure = [](TensorView view) {
    return error_of([&] { make_source({{"w", tensor(view)}}); });
  };
  EXPECT_THAT(failure({nullptr, DType::F32, {1}}), HasSubstr("w: want data"));
  EXPECT_THAT(failure({x, DType::F64, {2, 2}, {1}}), HasSubstr("one stride for each dimension"));
  EXPECT_THAT(failure({x, DType::F64, {2}, {-1}}), HasSubstr("sizes and strides >= 0"));
  EXPECT_THAT(failure({x, DType::F64, {-2}, {1}}), HasSubstr("sizes and strides >= 0"));
  EXPECT_THAT(failure({reinterpret_cast<const char*>(x) + 1, DType::F64, {1}}),
              HasSubstr("aligned data"));
  EXPECT_THAT(
      error_of([&] {
        make_source({{"w", tensor({x, DType::F64, {1}})}, {"w", tensor({x, DType::F64, {1}})}});
      }),
      HasSubstr("invalid_argument: [sources] mapping of 2 tensors: w occurs twice"));
}

}  // namespace
}  // namespace regraft::sources
