#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/mapped_file.h"
#include "regraft/error.h"

namespace regraft::base {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }
  size_t count_files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  static std::string content(const std::string& path) {
    std::ostringstream out;
    out << std::ifstream(path, std::ios::binary).rdbuf();
    return out.str();
  }

  fs::path folder_;
};

ErrorCode code_of_open(const std::string& path) {
  try {
    MappedFile::open(path);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
    return error.code();
  }
  ADD_FAILURE() << "opened " << path;
  return ErrorCode::Internal;
}

TEST_F(Files, MapsAWholeFile) {
  std::string text(100'000, 'x');
  text += "end";
  std::ofstream(path("a")) << text;
  const auto file = MappedFile::open(path("a"));
  EXPECT_EQ(file->path(), path("a"));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()),
            text);
}

TEST_F(Files, MapsAnEmptyFile) {
  std::ofstream(path("empty")).close();
  EXPECT_TRUE(MappedFile::open(path("empty"))->bytes().empty());
}

TEST_F(Files, TheMappingSurvivesReplacingTheFile) {
  std::ofstream(path("a")) << "old";
  const auto file = MappedFile::open(path("a"));
  AtomicFile replacement(path("a"));
  replacement.append("new!", 4);
  replacement.commit();
  EXPECT_EQ(static_cast<char>(file->bytes()[0]), 'o');
  EXPECT_EQ(content(path("a")), "new!");
}

TEST_F(Files, NamesTheFileThatCannotBeMapped) {
  EXPECT_EQ(code_of_open(path("missing")), ErrorCode::NotFound);
  EXPECT_EQ(code_of_open(folder_), ErrorCode::Io);
  // Whatever went wrong before.
  for (const int before : {0, ENOENT}) {
    errno = before;
    EXPECT_EQ(code_of_open("/dev/null"), ErrorCode::Io);
  }
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of_open(path("pipe")), ErrorCode::Io) << "nobody waits for a writer";
  EXPECT_EQ(code_of_open(path("a/b")), ErrorCode::NotFound);
}

TEST_F(Files, AtomicFileAppearsOnCommit) {
  {
    AtomicFile file(path("a"));
    file.append("abc", 3);
    file.append("", 0);
    EXPECT_EQ(file.position(), 3u);
    file.pad_to(64);
    EXPECT_EQ(file.position(), 64u);
    file.pad_to(64);
    file.append("d", 1);
    file.pad_to(10'000);
    EXPECT_FALSE(fs::exists(path("a")));
    file.commit();
  }
  const std::string text = content(path("a"));
  ASSERT_EQ(text.size(), 10'000u);
  EXPECT_EQ(text.substr(0, 3), "abc");
  EXPECT_EQ(text[63], '\0');
  EXPECT_EQ(text[64], 'd');
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(Files, AtomicFileLeavesNothingWithoutCommit) {
  std::ofstream(path("a")) << "old";
  {
    AtomicFile file(path("a"));
    file.append("new", 3);
  }
  EXPECT_EQ(content(path("a")), "old");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(Files, AtomicFileLeavesNothingWhenTheRenameFails) {
  fs::create_directories(path("a/full"));
  {
    AtomicFile file(path("a"));
    file.append("new", 3);
    EXPECT_THROW(file.commit(), Error);
  }
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(Files, AtomicFileNeedsItsFolder) {
  try {
    AtomicFile file(path("missing/a"));
    FAIL() << "created a file in no folder";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("missing/a"), std::string::npos);
  }
}

TEST_F(Files, AtomicFileReplacesWhatALinkPointsTo) {
  const auto write = [](const std::string& at, const std::string& text) {
    AtomicFile file(at);
    file.append(text.data(), text.size());
    file.commit();
  };
  fs::create_directories(path("other"));
  std::ofstream(path("other/a")) << "old";
  fs::create_symlink("other/a", path("link"));      // Relative to its folder.
  fs::create_symlink(path("link"), path("link2"));  // Absolute, of a link.
  fs::create_symlink("other/b", path("dangling"));
  write(path("link2"), "new");
  EXPECT_EQ(content(path("other/a")), "new");
  write(path("dangling"), "made");
  EXPECT_EQ(content(path("other/b")), "made");
  for (const char* name : {"link", "link2", "dangling"}) {
    EXPECT_TRUE(fs::is_symlink(path(name))) << name;
  }
  EXPECT_EQ(count_files(), 4u) << "no temporary file beside the links";
}

ErrorCode code_of_create(const std::string& path) {
  try {
    AtomicFile file(path);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
    return error.code();
  }
  ADD_FAILURE() << "created " << path;
  return ErrorCode::Internal;
}

TEST_F(Files, AtomicFileTakesThePlaceOfFilesOnly) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", path("link"));
  fs::create_symlink("loop", path("loop"));
  fs::create_symlink("missing/a", path("nowhere"));
  EXPECT_EQ(code_of_create(path("pipe")), ErrorCode::Io);
  EXPECT_EQ(code_of_create(path("link")), ErrorCode::Io);
  EXPECT_EQ(code_of_create(path("loop")), ErrorCode::Io);
  EXPECT_EQ(code_of_create(path("nowhere")), ErrorCode::NotFound);
  EXPECT_TRUE(fs::is_fifo(path("pipe")));
  EXPECT_EQ(count_files(), 4u);
}

TEST_F(Files, ConcurrentWritersLeaveOneWholeFile) {
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&, i] {
      AtomicFile file(path("a"));
      const std::string text(5000, static_cast<char>('a' + i));
      file.append(text.data(), 2500);
      file.append(text.data(), 2500);
      file.commit();
    });
  }
  for (std::thread& writer : writers)
    writer.join();
  const std::string text = content(path("a"));
  EXPECT_EQ(text, std::string(5000, text.at(0)));
  EXPECT_EQ(count_files(), 1u);
}

}  // namespace
}  // namespace regraft::base
