#include "base/fail.h"
#include "engine/immutable.h"
#include "engine/variant.h"
#include "engine_file/engine_file.h"
#include "regraft/engine.h"

namespace regraft {
namespace {

void save_immutable(const std::string& path, engine::Image image, const engine::Core& core,
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
  engine_file::write(path, image, values);
}

// Without weights, but for the optional parameters: no checkpoint brings those.
void save_stripped(const std::string& path, engine::Image image, engine::Variant& variant) {
  const engine::Core& core = variant.core();
  std::vector<TensorView> values;
  for (size_t p = 0; p < core.plan().parameters.size(); ++p) {
    const auto& initial = core.initial_value(p);
    values.push_back(initial ? initial->view : core.parameter_spec(p));
  }
  image.stripped = true;
  if (variant.publisher().generation() == 0) {
    engine_file::write(path, image, values);
    return;
  }
  const engine::Reader reader(variant);
  for (size_t p = 0; p < values.size(); ++p) {
    if (core.plan().parameters[p].optional) values[p] = reader.bank()->parameters[p].view;
  }
  engine_file::write(path, image, values);
}

}  // namespace

Engine Engine::load(const std::string& path, const EngineOptions& options) {
  return engine::create(engine_file::read(path), options);
}

void Engine::save(const std::string& path, const SaveOptions& options) const {
  const engine::Core& core = variant_->core();
  engine::Image image = core.image();
  image.stripped = false;
  image.realised = options.realised ? to_text(core.realised()) : "";
  if (options.form == SaveForm::Stripped) {
    if (image.immutable) {
      base::fail("engine", ErrorCode::State,
                 "an engine with immutable weights cannot be refitted: it cannot be stripped");
    }
    save_stripped(path, std::move(image), *variant_);
    return;
  }
  const engine::Reader reader(*variant_);  // Keeps the weights as they are while they are written.
  if (options.form == SaveForm::Immutable && !image.immutable) {
    save_immutable(path, std::move(image), core, *reader.bank());
    return;
  }
  engine::want_retained(core, *reader.bank(), "save the weights");
  std::vector<TensorView> values;
  for (const engine::ParameterValue& value : reader.bank()->parameters) {
    values.push_back(value.view);
  }
  engine_file::write(path, image, values);
}

}  // namespace regraft
