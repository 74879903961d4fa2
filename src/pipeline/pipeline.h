#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "compilation/compile_backend.h"
#include "engine/image.h"
#include "regraft/compile.h"

namespace regraft::pipeline {

// The stages from a program to an image, each a folder of the compiler half.
enum class Stage { Lower, Partition, Compile };
std::string_view name(Stage stage);
// Throws Error{"pipeline", InvalidArgument}.
Stage parse_stage(std::string_view name);

// Throws Error{"pipeline", InvalidArgument} with the backends of this build.
const compilation::CompileBackend& compile_backend(std::string_view name);

// Runs the stages up to `until`, with an event after each pass and stage. The image is there when
// `until` is the last one.
std::optional<engine::Image> run(const Program& program, const CompileOptions& options,
                                 Stage until = Stage::Compile);

}  // namespace regraft::pipeline
