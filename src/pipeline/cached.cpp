#include "pipeline/cached.h"

#include <chrono>
#include <optional>

#include "base/fail.h"
#include "base/log.h"
#include "cache/entry.h"
#include "pipeline/cache_key.h"

namespace regraft::pipeline {
namespace {

class Lookup {
 public:
  Lookup(const ir::Graph& graph, const CompileOptions& options)
      : graph_(graph), options_(options), key_(graph_key(graph, options)) {}

  // Nothing for a miss.
  std::optional<Engine> find(const Steps& steps) {
    std::optional<std::string> entry;
    guarded("read", [&] { entry = options_.cache->load(key_.digest); });
    if (entry) {
      std::optional<Engine> engine;
      is_useless_ = !guarded("use", [&] {
        engine::Image image = cache::decode(key_.digest, *entry, key_.names);
        want_boundary(image.plan);
        image = steps.finish(std::move(image));
        image.from_cache = true;
        cache::own_realised(image);
        engine = steps.realise(std::move(image));
      });
      if (engine) {
        report("hit");
        return engine;
      }
    }
    report("miss");
    return std::nullopt;
  }

  // After a miss and a compilation that went well.
  void keep(const Engine& engine) {
    if (options_.cache_built_engines) {
      begin_ = Clock::now();
      const bool kept = guarded("save", [&] {
        options_.cache->save(key_.digest, cache::encode(key_.digest, engine, key_.names));
      });
      if (kept) report("save");
    } else if (is_useless_) {
      guarded("remove", [&] { options_.cache->remove(key_.digest); });
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  template <typename F>
  bool guarded(std::string_view verb, const F& f) const {
    try {
      f();
      return true;
    } catch (const Error& error) {
      base::log(LogLevel::Warning,
                base::cat("[cache] cannot ", verb, " the entry ", key_.digest, ": ", error.what()));
      return false;
    }
  }

  void report(std::string_view pass) const {
    if (!options_.on_event) return;
    const std::chrono::duration<double> seconds = Clock::now() - begin_;
    options_.on_event({"cache", pass, seconds.count(), [&] { return key_.digest; }});
  }

  // What a key of 128 bits leaves to chance or to ill will: a sound plan of another program.
  void want_boundary(const plan::Plan& plan) const {
    plan::verify(plan);
    const auto want = [&](const std::string& name, int32_t buffer, const TensorType& type) {
      const TensorType& have = plan.buffers[buffer].type;
      if (have == type) return;
      base::fail("cache", ErrorCode::Corrupt, name, ": want ", type.str(), ", have ", have.str());
    };
    for (size_t i = 0; i < plan.inputs.size(); ++i)
      want(plan.inputs[i].name, plan.inputs[i].buffer, graph_.inputs()[i]->type());
    for (size_t i = 0; i < plan.outputs.size(); ++i)
      want(plan.outputs[i].name, plan.outputs[i].buffer, graph_.outputs()[i].value->type());
    for (const plan::Parameter& parameter : plan.parameters)
      want(parameter.name, parameter.buffer, graph_.find_parameter(parameter.name)->type());
  }

  const ir::Graph& graph_;
  const CompileOptions& options_;
  Clock::time_point begin_ = Clock::now();
  const GraphKey key_;
  bool is_useless_ = false;
};

}  // namespace

Engine compile_cached(const ir::Graph& graph, const CompileOptions& options, const Steps& steps) {
  if (!options.cache || !(options.reuse_cached_engines || options.cache_built_engines)) {
    return steps.realise(steps.compile());
  }
  Lookup lookup(graph, options);
  if (options.reuse_cached_engines) {
    if (std::optional<Engine> engine = lookup.find(steps)) return *engine;
  }
  Engine engine = steps.realise(steps.compile());
  lookup.keep(engine);
  return engine;
}

}  // namespace regraft::pipeline
