#include "sources/json.h"

#include <gmock/gmock.h>

#include "check.h"

namespace regraft::sources {
namespace {

using testing::HasSubstr;

Json parse(const std::string& text) {
  const Record record = exact(text);
  return Json::parse(record.text(), "t");
}

std::string failure(const std::string& text) {
  return error_of([&] { parse(text); });
}

TEST(Json, ReadsEveryKind) {
  const Json json =
      parse(" {\"a\": [1, -2, 0, 2.5, -1e3, true, false, null, \"x\"], \"b\":{}, \"c\":[]}\n");
  const Json::Array& a = *json.find("a")->array();
  ASSERT_EQ(a.size(), 9u);
  EXPECT_EQ(*a[0].integer(), 1);
  EXPECT_EQ(*a[1].integer(), -2);
  EXPECT_EQ(*a[2].integer(), 0);
  EXPECT_EQ(*a[3].number(), 2.5);
  EXPECT_EQ(*a[4].number(), -1000);
  EXPECT_EQ(a[4].integer(), nullptr);
  EXPECT_TRUE(*a[5].boolean());
  EXPECT_FALSE(*a[6].boolean());
  EXPECT_TRUE(a[7].is_null());
  EXPECT_EQ(*a[8].string(), "x");
  EXPECT_TRUE(json.find("b")->object()->empty());
  EXPECT_TRUE(json.find("c")->array()->empty());
  EXPECT_EQ(json.find("d"), nullptr);
  EXPECT_EQ(a[0].find("d"), nullptr);
}

TEST(Json, IntegersAreExact) {
  EXPECT_EQ(*parse("9223372036854775807").integer(), INT64_MAX);
  EXPECT_EQ(*parse("-9223372036854775808").integer(), INT64_MIN);
  EXPECT_EQ(*parse("9007199254740993").integer(), 9007199254740993);
  EXPECT_THAT(failure("9223372036854775808"), HasSubstr("want an integer of 64 bits"));
}

TEST(Json, Strings) {
  EXPECT_EQ(*parse(R"("\"\\\/\b\f\n\r\tA\u00e9\u20ac\ud83d\ude00")").string(),
            "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(*parse("\"\xf0\x9f\x98\x80\"").string(), "\xf0\x9f\x98\x80");
  EXPECT_EQ(parse(R"("\u0000")").string()->size(), 1u);
}

TEST(Json, RefusesWhatTheGrammarDoesNotAllow) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "1 2",
                           "[1]]",
                           "01",
                           "-",
                           "+1",
                           ".5",
                           "1.",
                           "1e",
                           "1e+",
                           "0x10",
                           "NaN",
                           "nan",
                           "Infinity",
                           "-Infinity",
                           "tru",
                           "True",
                           "nul",
                           "\"",
                           "\"a",
                           "\"\n\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "\"\\",
                           "\"\\u",
                           "\"\x80\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf5\x80\x80\x80\"",
                           "\"\xe2\x82\"",
                           "\xef\xbb\xbf{}",
                           "1e400",
                           "-1e400",
                           "/*c*/1",
                           "{\"a\":1 \"b\":2}",
                           "[1}",
                           "{\"a\":1]"}) {
    EXPECT_THAT(failure(text), HasSubstr("corrupt: [sources] t: JSON")) << text;
  }
}

TEST(Json, RefusesDuplicateKeysAlsoInLargeObjects) {
  EXPECT_THAT(failure(R"({"a":1,"b":2,"\u0061":3})"), HasSubstr("duplicate key 'a'"));
  std::string text = "{";
  for (int i = 0; i < 100; ++i)
    text += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(failure(text + "\"z\":0}"), "no error");
  EXPECT_THAT(failure(text + "\"k50\":0}"), HasSubstr("duplicate key 'k50'"));
}

TEST(Json, LimitsDepthValuesAndBytes) {
  const std::string deep(100'000, '[');
  EXPECT_THAT(failure(deep), HasSubstr("less nesting"));
  std::string objects;
  for (int i = 0; i < 1000; ++i)
    objects += "{\"a\":";
  EXPECT_THAT(failure(objects), HasSubstr("less nesting"));
  EXPECT_EQ(failure(std::string(30, '[') + std::string(30, ']')), "no error");
  const auto limited = [](const JsonLimits& limits) {
    return error_of([&] { Json::parse("[1,2,3,4]", "t", limits); });
  };
  EXPECT_THAT(limited({.values = 4}), HasSubstr("out_of_memory"));
  EXPECT_THAT(limited({.bytes = 8}), HasSubstr("out_of_memory"));
  EXPECT_EQ(limited({.bytes = 9, .values = 5, .depth = 1}), "no error");
}

TEST(Json, MessagesSayWhereAndStayPrintable) {
  EXPECT_EQ(failure("[1, \x01\xff]"),
            "corrupt: [sources] t: JSON at byte 4: want a value, have '\\x01\\xff]'");
}

TEST(Json, QuotedReadsBack) {
  const std::string text = "a\"\\/\n\t\x01\x1f \xe2\x82\xac";
  EXPECT_EQ(*parse(json_quoted(text)).string(), text);
  EXPECT_THAT(error_of([] { json_quoted("\xff"); }), HasSubstr("invalid_argument"));
}

TEST(Json, VariantsNeverCrash) {
  read_variants(R"({"a":[1,-2.5e3,"\u00e9\ud83d\ude00x",null],"b":{"c":true}})",
                [](const Record& record) { Json::parse(record.text(), "t"); });
}

}  // namespace
}  // namespace regraft::sources
