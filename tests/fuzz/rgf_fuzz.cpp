// Any bytes read as an engine file: an image whose plan has been verified, or Error. Checksums are
// made right first, or no mutation would get past them.
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "base/hash.h"
#include "consume.h"
#include "engine/slots.h"
#include "engine_file/engine_file.h"
#include "engine_file/header.h"
#include "plan/realised.h"

namespace {

using namespace regraft;

constexpr std::align_val_t kAlignment{64};

struct Free {
  void operator()(std::byte* memory) const { ::operator delete[](memory, kAlignment); }
};

void fix_checksums(std::byte* data, size_t size) {
  engine_file::Header header;
  if (size < sizeof header) return;
  std::memcpy(&header, data, sizeof header);
  header.file_bytes = size;
  if (header.manifest_bytes <= size - sizeof header) {
    header.manifest_checksum = base::hash64(data + sizeof header, header.manifest_bytes);
  }
  header.checksum = base::hash64(&header, offsetof(engine_file::Header, checksum));
  std::memcpy(data, &header, sizeof header);
}

void use(const engine::Image& image) {
  plan::fingerprint(image.plan);
  engine::plain_slots(image.plan, engine::shape_statics(image.plan));
  engine::shape_all(image.plan, plan::tuned_sizes(image.plan.symbols));
  if (!image.realised.empty()) plan::parse_realised(image.realised);
  fuzz::consume(*image.weights);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Aligned as a mapping is, and exactly as long.
  const std::unique_ptr<std::byte[], Free> memory(new (kAlignment) std::byte[size]);
  if (size > 0) std::memcpy(memory.get(), data, size);
  fix_checksums(memory.get(), size);
  try {
    use(engine_file::parse({memory.get(), size}, nullptr, "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
