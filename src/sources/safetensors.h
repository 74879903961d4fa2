#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "regraft/weight_source.h"
#include "sources/bytes.h"

namespace regraft::sources {

// Whether the bytes begin as a .safetensors file does: a header length, then '{'.
bool is_safetensors(std::span<const std::byte> bytes);

// The tensors of a .safetensors file (https://github.com/huggingface/safetensors#format), in the
// order of its header, in place where they are aligned. `__metadata__` is ignored. `where` is the
// description and leads messages. Throws Error{Corrupt, Unsupported, OutOfMemory}.
std::shared_ptr<const WeightSource> make_safetensors_source(Record file, std::string where);

// Writes `path` atomically; data begins on a 64-byte boundary and larger elements come first, so
// that every tensor is aligned. Strided views are written row-major. Throws Error{InvalidArgument}
// for a name that occurs twice, is "__metadata__" or not UTF-8, or a dtype the format lacks (c128),
// and Error{Io}.
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, TensorView>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace regraft::sources
