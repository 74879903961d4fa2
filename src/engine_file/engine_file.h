#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/image.h"
#include "regraft/engine.h"

namespace regraft::engine_file {

// Reads and writes ".rgf" files; docs/file_format.md describes the bytes. Goals: mapped and used as
// it lies; the same layout whatever the weights are; hostile bytes give a typed error. Not goals:
// compression, editing a file, holding anything executable.

// Writes an engine. `values` holds one row-major tensor for each parameter of image.plan, in its
// declared type; when image.stripped, a view of null data where there is none. image.weights is not
// used. Throws Error{Io}.
void write(const std::string& path, const engine::Image& image,
           const std::vector<TensorView>& values);

// The bytes of a stripped engine's file that holds no value at all.
std::string to_bytes(const engine::Image& image);
// The same bytes in memory.
std::vector<std::byte> to_memory(const engine::Image& image, const std::vector<TensorView>& values);

// Maps a file. The header and the manifest are checked here, a tensor's checksum whenever it is
// read from image.weights. Throws Error{NotFound, Io, Corrupt, Version}.
engine::Image read(const std::string& path);

// The same for bytes in memory that `owner` keeps alive, 64-byte aligned.
engine::Image parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                    const std::string& description);

}  // namespace regraft::engine_file
