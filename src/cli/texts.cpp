#include "cli/texts.h"

#include <charconv>
#include <cstdio>
#include <filesystem>

#include "base/fail.h"

namespace regraft::cli {
namespace {

std::string with_digits(double value, int digits, std::string_view unit) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %.*s", digits, value, static_cast<int>(unit.size()),
                unit.data());
  return text;
}

int64_t size_of(const std::string& text, const std::string& argument) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    base::fail("cli", ErrorCode::InvalidArgument,
               "--optimum: want symbol=size such as s0=8, have '", argument, "'");
  }
  return value;
}

}  // namespace

CompileOptions to_options(const CompilerArguments& arguments) {
  CompileOptions options;
  options.backend = arguments.backend;
  options.precision = *try_parse_dtype(arguments.precision);
  options.allow_tf32 = arguments.allow_tf32;
  options.disabled_passes = arguments.without;
  options.name = stem_of(arguments.program);
  for (const std::string& argument : arguments.optimum) {
    const auto [symbol, size] = split_name(argument);
    options.optimum[symbol] = size_of(size, argument);
  }
  return options;
}

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return with_digits(bytes / 1e9, 2, "GB");
  if (bytes >= 1e6) return with_digits(bytes / 1e6, 1, "MB");
  if (bytes >= 1e4) return with_digits(bytes / 1e3, 1, "kB");
  return with_digits(bytes, 0, "bytes");
}

std::string time_text(double seconds) {
  return seconds >= 1 ? with_digits(seconds, 2, "s") : with_digits(seconds * 1e3, 2, "ms");
}

std::pair<std::string, std::string> split_name(const std::string& argument) {
  const size_t at = argument.find('=');
  if (at == std::string::npos) return {"", argument};
  return {argument.substr(0, at), argument.substr(at + 1)};
}

void write_spec(JsonWriter& json, const TensorSpec& spec) {
  json.begin_object();
  json.member("name", spec.name).member("dtype", name(spec.dtype)).member("dims", spec.dims);
  json.end_object();
}

void write_report(JsonWriter& json, const RefitReport& report) {
  json.begin_object();
  json.member("generation", report.generation).member("dry_run", report.dry_run);
  json.member("updated", report.updated).member("untouched", report.untouched);
  json.member("parameters", report.parameters).member("unused", report.unused);
  json.key("non_finite").begin_object();
  for (const auto& [name, count] : report.non_finite)
    json.member(name, count);
  json.end_object();
  json.member("bytes_in", report.bytes_in).member("bytes_out", report.bytes_out);
  json.member("stage_ms", report.stage_ms).member("check_ms", report.check_ms);
  json.member("evaluate_ms", report.evaluate_ms).member("publish_ms", report.publish_ms);
  json.member("total_ms", report.total_ms);
  json.member("gigabytes_per_second", report.gigabytes_per_second);
  json.end_object();
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty() && text.back() != '\n') std::fputc('\n', stdout);
}

std::string stem_of(const std::string& path) { return std::filesystem::path(path).stem().string(); }

}  // namespace regraft::cli
