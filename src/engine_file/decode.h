#pragma once

#include <span>
#include <vector>

#include "engine/image.h"
#include "engine_file/encode.h"

namespace regraft::engine_file {

struct Manifest {
  engine::Image image;  // Without weights. The plan has passed plan::verify.
  Form form = Form::Embedded;
  std::vector<SectionRange> sections;
};

// Decodes bytes that may be hostile: costs memory and time in proportion to their number. Throws
// Error{"engine_file", Corrupt} and Error{"engine_file", Version}.
Manifest decode_manifest(std::span<const std::byte> bytes);

}  // namespace regraft::engine_file
