#include "cache/entry.h"

#include <cstring>

#include "base/fail.h"
#include "engine/variant.h"
#include "engine_file/engine_file.h"
#include "plan/realised.h"

namespace regraft::cache {
namespace {

constexpr const char* kKey = "cache_key";

}  // namespace

std::string encode(const std::string& key, const Engine& engine, const Names& names) {
  engine::Image image;
  image.plan = engine.variant()->core().plan();
  rename(image.plan, names, canonical(names));
  // Decided by the program that takes the entry out.
  for (plan::Parameter& parameter : image.plan.parameters)
    parameter.optional = false;
  image.metadata[kKey] = key;
  image.realised = engine.realised_plan();
  own_realised(image);
  return engine_file::to_bytes(image);
}

engine::Image decode(const std::string& key, const std::string& entry, const Names& names) {
  auto memory = std::make_shared<Tensor>(DType::U8, Dims{static_cast<int64_t>(entry.size())});
  auto* const bytes = memory->mutable_view().as_mutable<std::byte>();
  std::memcpy(bytes, entry.data(), entry.size());
  engine::Image image = engine_file::parse({bytes, entry.size()}, memory, "cache entry " + key);
  const auto own_key = image.metadata.find(kKey);
  if (!image.stripped || own_key == image.metadata.end() || own_key->second != key) {
    base::fail("cache", ErrorCode::Corrupt, "this is no entry of the key ", key);
  }
  rename(image.plan, canonical(names), names);
  image.metadata.clear();
  image.weights = nullptr;
  return image;
}

void own_realised(engine::Image& image) {
  plan::Realised choices = plan::parse_realised(image.realised);
  choices.plan = plan::fingerprint(image.plan);
  image.realised = to_text(choices);
}

}  // namespace regraft::cache
