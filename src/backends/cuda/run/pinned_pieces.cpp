#include "backends/cuda/run/pinned_pieces.h"

#include "backends/cuda/run/api/driver.h"

namespace regraft::cuda {
namespace {

// A kernel and its table are not worth less.
constexpr size_t kLeastPieces = 8;

// Null: the current device does not read it where it lies, or only byte by byte.
const std::byte* address_on_device(const base::BlockCopy& block) {
  constexpr uintptr_t kVector = 16;
  const auto lies_evenly = [](const std::byte* data) {
    return reinterpret_cast<uintptr_t>(data) % kVector == 0;
  };
  if (block.bytes == 0 || !lies_evenly(block.from) || !lies_evenly(block.to)) return nullptr;
  if (!is_pinned(block.from)) return nullptr;
  CUdeviceptr address = 0;
  const bool known = driver().cuPointerGetAttribute(&address, kPointerDeviceAddress,
                                                    reinterpret_cast<CUdeviceptr>(block.from)) == 0;
  return known ? reinterpret_cast<const std::byte*>(address) : nullptr;
}

}  // namespace

bool is_pinned(const void* data) {
  unsigned type = 0;
  // Memory that the driver has never heard of is pageable.
  return driver().cuPointerGetAttribute(&type, kPointerMemoryType,
                                        reinterpret_cast<CUdeviceptr>(data)) == 0 &&
         type == kHostMemory;
}

Uploads sort_uploads(std::vector<base::BlockCopy> blocks) {
  Uploads uploads;
  if (blocks.size() >= kLeastPieces) {
    for (const base::BlockCopy& block : blocks) {
      const std::byte* const from = address_on_device(block);
      if (from != nullptr) {
        uploads.read.push_back({block.to, from, block.bytes});
      } else {
        uploads.copied.push_back(block);
      }
    }
    if (uploads.read.size() >= kLeastPieces) return uploads;
  }
  return {{}, std::move(blocks)};
}

}  // namespace regraft::cuda
