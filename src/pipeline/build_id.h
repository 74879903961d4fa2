#pragma once

#include <string>

namespace regraft::pipeline {

// Identifies the compiler that runs, down to its machine code: the linker's build id of the library
// (or program) it lies in, as hexadecimal digits; empty where the linker wrote none.
const std::string& build_id();

}  // namespace regraft::pipeline
