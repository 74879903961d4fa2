#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "regraft/compile.h"
#include "regraft/engine.h"

// What several verbs read and print.
namespace regraft::cli {

// Throws Error{"cli", InvalidArgument}.
CompileOptions to_options(const CompilerArguments& arguments);

// "1.5 GB", "12.3 MB", "900 bytes"
std::string bytes_text(double bytes);
// "1.20 s", "3.4 ms"
std::string time_text(double seconds);

// "name=path" or "path"; the name is empty for the latter.
std::pair<std::string, std::string> split_name(const std::string& argument);

void write_spec(JsonWriter& json, const TensorSpec& spec);
void write_report(JsonWriter& json, const RefitReport& report);

void print(std::string_view text);

// "model" of "dir/model.pt2"
std::string stem_of(const std::string& path);

}  // namespace regraft::cli
