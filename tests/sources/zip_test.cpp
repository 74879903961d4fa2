#include "sources/zip.h"

#include <gmock/gmock.h>

#include "check.h"
#include "support/archives.h"

namespace regraft::sources {
namespace {

using testing::HasSubstr;

std::string failure(const std::string& bytes, const ZipLimits& limits = {}) {
  const Record record = exact(bytes);
  return error_of([&] {
    const ZipArchive zip(record.bytes, "t", limits);
    for (const ZipEntry& entry : zip.entries())
      zip.read(entry);
  });
}

// Overwrites bytes behind the n-th occurrence (0: first) of a signature.
template <typename T>
std::string patched(std::string bytes, std::string_view signature, size_t offset, T value,
                    int n = 0) {
  size_t at = bytes.find(signature);
  while (n-- > 0)
    at = bytes.find(signature, at + 1);
  EXPECT_NE(at, std::string::npos);
  std::memcpy(bytes.data() + at + offset, &value, sizeof value);
  return bytes;
}

constexpr std::string_view kLocal("PK\3\4", 4), kEntry("PK\1\2", 4), kEnd("PK\5\6", 4),
    kEnd64("PK\6\6", 4), kLocator("PK\6\7", 4);

std::string two_members(const ZipStyle& style = {}) {
  ZipWriter writer;
  writer.add("r/a", "hello", style);
  writer.add("r/b", std::string(1000, 'x'), style);
  return writer.finish(style.zip64);
}

class ZipStyles : public testing::TestWithParam<ZipStyle> {};

TEST_P(ZipStyles, ReadsMembers) {
  const Record record = exact(two_members(GetParam()));
  const ZipArchive zip(record.bytes, "t");
  ASSERT_EQ(zip.entries().size(), 2u);
  EXPECT_EQ(zip.entries()[0].name, "r/a");
  const ZipEntry* a = zip.find("r/a");
  const ZipEntry* b = zip.find("r/b");
  ASSERT_TRUE(a != nullptr && b != nullptr);
  EXPECT_EQ(zip.find("r/c"), nullptr);
  EXPECT_EQ(zip.read(*a).text(), "hello");
  EXPECT_EQ(zip.read(*b).text(), std::string(1000, 'x'));
  zip.check_crc(*b, zip.read(*b));
  if (!GetParam().deflate) {
    EXPECT_EQ(zip.read(*b).owner, nullptr) << "stored members are not copied";
    EXPECT_EQ(b->data_offset % 64, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ZipStyles,
                         testing::Values(ZipStyle{}, ZipStyle{.deflate = true},
                                         ZipStyle{.zip64 = true}, ZipStyle{.descriptor = true},
                                         ZipStyle{
                                             .deflate = true, .zip64 = true, .descriptor = true}));

TEST(Zip, EmptyArchivesAndCommentsAreFine) {
  EXPECT_EQ(failure(ZipWriter().finish()), "no error");
  EXPECT_EQ(failure(ZipWriter().finish(true)), "no error");
  ZipWriter writer;
  writer.add("a", "");
  writer.add("b", "", {.deflate = true});
  EXPECT_EQ(failure(writer.finish(false, "a comment")), "no error");
}

TEST(Zip, RefusesWhatTwoReadersCouldSeeDifferently) {
  ZipWriter twice;
  twice.add("a", "1");
  twice.add("a", "2");
  EXPECT_THAT(failure(twice.finish()), HasSubstr("a occurs twice"));
  const std::string zip = two_members();
  // The second entry points at the first member's header.
  EXPECT_THAT(failure(patched<uint32_t>(zip, kEntry, 42, 0, 1)), HasSubstr("differ"));
  EXPECT_THAT(failure(patched<char>(zip, kLocal, 30, 'q')), HasSubstr("differ"));
  EXPECT_THAT(failure(patched<uint16_t>(zip, kLocal, 8, 8)), HasSubstr("differ"));
}

TEST(Zip, RefusesOverlaps) {
  ZipWriter inner;
  inner.add("b", "data");
  ZipWriter writer;
  // The first member's data hold a whole second member, which the directory then names.
  writer.add("a", inner.finish());
  writer.add("b", "data");
  const std::string zip = writer.finish();
  const auto second = static_cast<uint32_t>(zip.find(kLocal, 4));
  EXPECT_THAT(failure(patched<uint32_t>(zip, kEntry, 42, second, 2)), HasSubstr("a and b overlap"));
}

TEST(Zip, RefusesRangesOutsideTheFile) {
  const std::string zip = two_members();
  for (const uint32_t offset : {1u, 0x7fffffffu, 0xfffffffeu, 0xffffffffu}) {
    EXPECT_THAT(failure(patched<uint32_t>(zip, kEntry, 42, offset)), HasSubstr("corrupt"));
    EXPECT_THAT(failure(patched<uint32_t>(zip, kEnd, 16, offset)), HasSubstr("corrupt"));
    EXPECT_THAT(failure(patched<uint32_t>(zip, kEnd, 12, offset)), HasSubstr("corrupt"));
    const uint32_t size = offset + 1000;
    auto larger = patched<uint32_t>(zip, kEntry, 20, size);
    EXPECT_THAT(failure(patched<uint32_t>(larger, kEntry, 24, size)), HasSubstr("corrupt"));
  }
  EXPECT_THAT(failure(patched<uint16_t>(zip, kEnd, 10, 3)), HasSubstr("unsupported"));
  auto more = patched<uint16_t>(patched<uint16_t>(zip, kEnd, 10, 3), kEnd, 8, 3);
  EXPECT_THAT(failure(more), HasSubstr("do not fit"));
  auto fewer = patched<uint16_t>(patched<uint16_t>(zip, kEnd, 10, 1), kEnd, 8, 1);
  EXPECT_THAT(failure(fewer), HasSubstr("bytes too many"));
}

TEST(Zip, RefusesHostileZip64) {
  const std::string zip = two_members({.zip64 = true});
  for (const uint64_t value : {uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 100, uint64_t{1}}) {
    EXPECT_THAT(failure(patched(zip, kLocator, 8, value)), HasSubstr("corrupt"));
    EXPECT_THAT(failure(patched(zip, kEnd64, 48, value)), HasSubstr("corrupt"));
    EXPECT_THAT(failure(patched(zip, kEnd64, 40, value)), HasSubstr("corrupt"));
    auto count = patched(patched(zip, kEnd64, 32, value), kEnd64, 24, value);
    EXPECT_THAT(failure(count), HasSubstr("corrupt"));
    // Uncompressed size, compressed size, offset of the first member: after the name and 4 bytes.
    for (const size_t field : {0, 8, 16}) {
      EXPECT_THAT(failure(patched(zip, kEntry, 46 + 3 + 4 + field, value)), HasSubstr("corrupt"));
    }
  }
  EXPECT_THAT(failure(patched<uint16_t>(zip, kEntry, 46 + 3 + 2, 8)), HasSubstr("too short"));
}

TEST(Zip, RefusesEncryptionAndOtherMethods) {
  const std::string zip = two_members();
  EXPECT_THAT(failure(patched<uint16_t>(zip, kEntry, 8, 1)), HasSubstr("unsupported"));
  EXPECT_THAT(failure(patched<uint16_t>(zip, kEntry, 10, 12)), HasSubstr("have 12"));
}

TEST(Zip, InflatedSizesMustBeExact) {
  const std::string zip = two_members({.deflate = true});
  for (const uint32_t size : {0u, 1u, 999u, 1001u}) {
    EXPECT_THAT(failure(patched<uint32_t>(zip, kEntry, 24, size, 1)),
                HasSubstr("does not inflate to"));
  }
  EXPECT_THAT(failure(patched<uint32_t>(zip, kEntry, 24, 0xfffffff0u, 1)),
              HasSubstr("cannot hold"));
  std::string broken = zip;
  broken[zip.find(kLocal, 4) + 64] = '\xff';
  EXPECT_NE(failure(broken), "");
}

TEST(Zip, LimitsBombsBeforeAllocating) {
  ZipWriter writer;
  const std::string zeros(10 << 20, '\0');
  for (int i = 0; i < 6; ++i) {
    writer.add("z" + std::to_string(i), zeros, {.deflate = true});
  }
  const std::string zip = writer.finish();
  ASSERT_LT(zip.size(), 200'000u);
  EXPECT_EQ(failure(zip), "no error");  // 60 MiB: below the floor.
  EXPECT_THAT(failure(zip, {.floor = 1 << 20}), HasSubstr("out_of_memory"));
  EXPECT_THAT(failure(zip, {.floor = 1 << 20, .ratio = 2000}), HasSubstr("no error"));
  EXPECT_THAT(failure(zip, {.ratio = 2000, .ceiling = 1 << 20}), HasSubstr("out_of_memory"));
}

TEST(Zip, ChecksCrcWhenAsked) {
  std::string bytes = two_members();
  bytes[bytes.find("hello")] = 'j';
  const Record record = exact(bytes);
  const ZipArchive zip(record.bytes, "t");
  const ZipEntry& entry = *zip.find("r/a");
  EXPECT_EQ(zip.read(entry).text(), "jello");
  EXPECT_THAT(error_of([&] { zip.check_crc(entry, zip.read(entry)); }), HasSubstr("CRC-32"));
}

TEST(Zip, VariantsNeverCrash) {
  for (const bool modern : {false, true}) {
    const ZipStyle style{.deflate = modern, .zip64 = modern, .descriptor = modern, .alignment = 8};
    read_variants(two_members(style), [](const Record& record) {
      const ZipArchive zip(record.bytes, "t");
      for (const ZipEntry& entry : zip.entries())
        zip.check_crc(entry, zip.read(entry));
    });
  }
}

}  // namespace
}  // namespace regraft::sources
