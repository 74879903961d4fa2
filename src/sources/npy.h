#pragma once

#include <string>

#include "regraft/weight_source.h"
#include "sources/bytes.h"

namespace regraft::sources {

// Reads a .npy file (NumPy Enhancement Proposal 1; versions 1 to 3) of little-endian numbers, bools
// or complex numbers. The result lies in the file where it is aligned; Fortran order gives strides.
// `where` leads messages. Throws Error{Corrupt, Version, Unsupported, OutOfMemory}.
SourceTensor parse_npy(const Record& file, const std::string& where);
// The same from a path, mapped. Throws Error{NotFound, Io} too.
SourceTensor read_npy(const std::string& path);

// NumPy has no bf16 and no float8.
bool is_npy_dtype(DType dtype);
// Writes `path` atomically, in C order. Throws Error{InvalidArgument} for a dtype that NumPy does
// not have, and Error{Io}.
void write_npy(const std::string& path, const TensorView& view);

}  // namespace regraft::sources
