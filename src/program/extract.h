#pragma once

#include <string>

#include "regraft/compile.h"
#include "regraft/program.h"

namespace regraft::program {

// Name of the input that brings size `dim` of tensor `name` to an engine: a tensor of that size
// whose elements nobody reads. Engines know symbols by the sizes of their inputs.
std::string size_carrier_name(const std::string& name, int dim);

// The nodes of a segment as a program: their parameters, the segment's inputs and outputs, and
// numbers they read as expressions over the symbols of the inputs. Throws Error{"program",
// InvalidArgument} for names that the program does not have.
Program extract(const Program& program, const SegmentInfo& segment);

}  // namespace regraft::program
