#pragma once

#include <map>
#include <string>

#include "regraft/tensor.h"

namespace regraft::test {

// Why `have` does not match `want`, or the empty string: dtype and dims must be equal, integers and
// bools exactly, floats within a relative L2 error, with NaN and infinities at the same positions.
// `tolerance` replaces the error allowed for a dtype (by its name).
std::string mismatch(const TensorView& want, const TensorView& have,
                     const std::map<std::string, double>& tolerance = {});

// Largest relative L2 error allowed by default: rounding alone.
double default_tolerance(DType dtype);

// "" or the first position at which the bits differ.
std::string bit_mismatch(const TensorView& want, const TensorView& have);

}  // namespace regraft::test
