#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <flatbuffers/flatbuffers.h>

#include "engine/image.h"
#include "engine_file/header.h"

namespace regraft::engine_file {

// Where a tensor lies, from the start of the data.
struct SectionRange {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t checksum = 0;
};

// Builds the manifest. Its size and layout do not depend on the checksums.
flatbuffers::DetachedBuffer encode_manifest(const engine::Image& image, Form form,
                                            const std::vector<SectionRange>& sections);

}  // namespace regraft::engine_file
