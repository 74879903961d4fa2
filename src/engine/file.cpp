#include <algorithm>
#include <functional>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "base/typed_errors.h"
#include "engine/immutable.h"
#include "engine/variant.h"
#include "engine_file/engine_file.h"
#include "regraft/engine.h"

namespace regraft {
namespace {

// Receives the file's content.
using Write = std::function<void(const engine::Image&, const std::vector<TensorView>&)>;

void save_immutable(const Write& write, engine::Image image, const engine::Core& core,
                    const engine::Bank& bank) {
  const auto constants = engine::logical_constants(core, bank);
  image.plan = engine::without_weight_program(core.plan());
  image.immutable = true;
  image.unused_parameters.clear();
  // The choices stay right, but belong to a plan of another fingerprint.
  if (!image.realised.empty()) {
    plan::Realised realised = core.realised();
    realised.plan = plan::fingerprint(image.plan);
    std::erase_if(realised.tactics, [](const plan::Realised::Tactic& tactic) {
      return tactic.program == "weight" || tactic.program == "pack";
    });
    image.realised = to_text(realised);
  }
  std::vector<TensorView> values;
  for (size_t c = 0; c < constants.size(); ++c) {
    const TensorType& type = core.plan().buffers[core.plan().constants[c].buffer].type;
    values.emplace_back(constants[c]->data, type.dtype, eval(type.dims, {}));
  }
  write(image, values);
}

// Without weights, but for the optional parameters: no checkpoint brings those.
void save_stripped(const Write& write, engine::Image image, engine::Variant& variant) {
  const engine::Core& core = variant.core();
  std::vector<TensorView> values;
  for (size_t p = 0; p < core.plan().parameters.size(); ++p) {
    const auto& initial = core.initial_value(p);
    values.push_back(initial ? initial->view : core.parameter_spec(p));
  }
  image.stripped = true;
  if (variant.publisher().generation() == 0) {
    write(image, values);
    return;
  }
  const engine::Reader reader(variant);
  std::vector<std::shared_ptr<const void>> copies;
  for (size_t p = 0; p < values.size(); ++p) {
    if (!core.plan().parameters[p].optional) continue;
    values[p] = engine::on_host(core, p, reader.bank()->parameters[p], copies.emplace_back());
  }
  write(image, values);
}

void write_form(engine::Variant& variant, const SaveOptions& options, const Write& write) {
  const engine::Core& core = variant.core();
  engine::Image image = core.image();
  image.stripped = false;
  image.realised = options.realised ? to_text(core.realised()) : "";
  if (options.form == SaveForm::Stripped) {
    if (image.immutable) {
      base::fail("engine", ErrorCode::State,
                 "an engine with immutable weights cannot be refitted: it cannot be stripped");
    }
    save_stripped(write, std::move(image), variant);
    return;
  }
  const engine::Reader reader(variant);  // Keeps the weights as they are while they are written.
  if (options.form == SaveForm::Immutable && !image.immutable) {
    save_immutable(write, std::move(image), core, *reader.bank());
    return;
  }
  engine::want_retained(core, *reader.bank(), "save the weights");
  std::vector<TensorView> values;
  std::vector<std::shared_ptr<const void>> copies;
  const std::vector<engine::ParameterValue>& parameters = reader.bank()->parameters;
  for (size_t p = 0; p < parameters.size(); ++p)
    values.push_back(engine::on_host(core, p, parameters[p], copies.emplace_back()));
  write(image, values);
}

}  // namespace

std::vector<std::pair<std::string, Tensor>> Engine::constant_values() const {
  const engine::Core& core = variant_->core();
  const engine::Reader reader(*variant_);
  const auto blocks = engine::logical_constants(core, *reader.bank());
  std::vector<std::pair<std::string, Tensor>> values;
  for (size_t c = 0; c < blocks.size(); ++c) {
    const plan::Constant& constant = core.plan().constants[c];
    const TensorType& type = core.plan().buffers[constant.buffer].type;
    values.emplace_back(constant.name, Tensor::copy_of(TensorView(blocks[c]->data, type.dtype,
                                                                  eval(type.dims, {}))));
  }
  return values;
}

Engine Engine::load(const std::string& path, const EngineOptions& options) {
  return base::typed_errors("engine",
                            [&] { return engine::create(engine_file::read(path), options); });
}

Engine Engine::load_part(const std::string& path, uint64_t offset, uint64_t bytes,
                         const EngineOptions& options) {
  const auto file = base::MappedFile::open(path);
  const std::span<const std::byte> all = file->bytes();
  if (offset > all.size() || bytes > all.size() - offset || offset % engine::kAlignment != 0) {
    base::fail("engine_file", ErrorCode::Corrupt, path, ": an engine at ", offset, " of ", bytes,
               " bytes lies outside of the file or is not aligned");
  }
  return base::typed_errors("engine", [&] {
    return engine::create(engine_file::parse(all.subspan(offset, bytes), file, path), options);
  });
}

Engine Engine::deserialize(std::span<const std::byte> bytes, const EngineOptions& options) {
  return base::typed_errors("engine", [&] {
    const auto memory = engine::allocate(bytes.size(), options.memory_limit);
    std::copy(bytes.begin(), bytes.end(), memory.get());
    return engine::create(
        engine_file::parse({memory.get(), bytes.size()}, memory, "engine in memory"), options);
  });
}

void Engine::save(const std::string& path, const SaveOptions& options) const {
  base::typed_errors("engine", [&] {
    write_form(*variant_, options, [&](const engine::Image& image, const auto& values) {
      engine_file::write(path, image, values);
    });
  });
}

std::vector<std::byte> Engine::serialize(const SaveOptions& options) const {
  return base::typed_errors("engine", [&] {
    std::vector<std::byte> bytes;
    write_form(*variant_, options, [&](const engine::Image& image, const auto& values) {
      bytes = engine_file::to_memory(image, values);
    });
    return bytes;
  });
}

}  // namespace regraft
