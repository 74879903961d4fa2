#include "pipeline/pipeline.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "backends/cpu/compile/backend.h"
#ifdef REGRAFT_CUDA
#include "backends/cuda/compile/backend.h"
#endif
#include "backends/reference/compile/backend.h"
#include "base/fail.h"
#include "compilation/pipeline.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "lowering/lower.h"
#include "lowering/outline.h"
#include "partitioning/partition.h"
#include "partitioning/partition_program.h"
#include "partitioning/refit_map.h"
#include "pipeline/cache_key.h"
#include "pipeline/cached.h"
#include "program/extract.h"

namespace regraft::pipeline {
namespace {

using compilation::CompileBackend;
using compilation::Precision;
using compilation::Settings;

constexpr std::string_view kStageNames[] = {"lower", "partition", "compile"};

std::span<const CompileBackend* const> compile_backends() {
  static const CompileBackend* const kBackends[] = {
      &cpu::compile_backend(),
      &reference::compile_backend(),
#ifdef REGRAFT_CUDA
      &cuda::compile_backend(),
#endif
  };
  return kBackends;
}

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  double lap() {
    const double out = seconds();
    begin_ = std::chrono::steady_clock::now();
    return out;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void report(const CompileOptions& options, std::string_view stage, std::string_view pass,
            double seconds, std::function<std::string()> text) {
  if (options.on_event) options.on_event({stage, pass, seconds, std::move(text)});
}

Settings settings_of(const CompileOptions& options) {
  Settings settings;
  settings.allow_tf32 = options.allow_tf32;
  switch (options.precision) {
    case DType::F32:
      settings.precision = Precision::F32;
      break;
    case DType::BF16:
      settings.precision = Precision::BF16;
      break;
    case DType::F16:
      settings.precision = Precision::F16;
      break;
    default:
      base::fail("pipeline", ErrorCode::InvalidArgument, "precision: want f32, bf16 or f16, have ",
                 regraft::name(options.precision));
  }
  for (const std::string& pass : options.disabled_passes) {
    const auto lowering = lowering::pass_names();
    if (std::find(lowering.begin(), lowering.end(), pass) == lowering.end()) {
      settings.disabled_passes.push_back(pass);
    }
  }
  return settings;
}

std::string settings_text(const CompileOptions& options) {
  std::string text =
      base::cat("backend=", options.backend, " precision=", regraft::name(options.precision),
                options.allow_tf32 ? " allow_tf32" : "");
  for (const std::string& pass : options.disabled_passes)
    text += " without=" + pass;
  for (const auto& [symbol, size] : options.optimum)
    text += base::cat(" ", symbol, "=", size);
  return text;
}

std::unique_ptr<ir::Graph> lower(const Program& program, const CompileOptions& options) {
  lowering::LoweringOptions lowering;
  lowering.allow_opaque = true;  // Partitioning knows what to say about them.
  for (const std::string& pass : options.disabled_passes) {
    const auto names = lowering::pass_names();
    if (std::find(names.begin(), names.end(), pass) != names.end()) {
      lowering.disabled_passes.push_back(pass);
    }
  }
  Clock clock, lap;
  if (options.on_event) {
    lowering.dump = [&](std::string_view pass, const std::string& text) {
      report(options, "lower", pass, lap.lap(), [&] { return text; });
    };
  }
  std::unique_ptr<ir::Graph> graph = lowering::lower(program, lowering);
  ir::verify(*graph);
  report(options, "lower", "", clock.seconds(), [&] { return ir::print(*graph); });
  return graph;
}

void set_optimum(ir::Graph& graph, const CompileOptions& options) {
  for (const auto& choice : options.optimum) {
    const std::string& name = choice.first;
    const int64_t size = choice.second;
    const auto& symbols = graph.symbols();
    const auto at = std::find_if(symbols.begin(), symbols.end(),
                                 [&](const plan::Symbol& symbol) { return symbol.name == name; });
    if (at == symbols.end()) {
      std::vector<std::string> names;
      for (const plan::Symbol& symbol : symbols)
        names.push_back(symbol.name);
      base::fail("pipeline", ErrorCode::InvalidArgument, "optimum: the program has no symbol '",
                 name, "'; it has ", names.empty() ? "none" : base::join(names, ", "));
    }
    if (size < std::max<int64_t>(at->min, 1) || size > at->max) {
      base::fail("pipeline", ErrorCode::InvalidArgument, "optimum: ", name, "=", size,
                 " is outside of its range [", at->min, ",", at->max, "]");
    }
    plan::Symbol symbol = *at;
    symbol.optimum = size;
    graph.set_symbol(std::move(symbol));
  }
  if (options.optimum.empty()) return;
  const SymbolValues sizes = plan::tuned_sizes(graph.symbols());
  for (const SizeGuard& guard : graph.guards()) {
    if (guard.holds(sizes)) continue;
    std::vector<std::string> have;
    for (const auto& [name, size] : sizes)
      have.push_back(base::cat(name, "=", size));
    base::fail("pipeline", ErrorCode::InvalidArgument, "optimum: no call has these sizes: want ",
               guard.str(), ", have ", base::join(have, ", "));
  }
}

void optimise(ir::Graph& graph, const Settings& settings, const CompileOptions& options) {
  compilation::optimise(
      graph, settings, [&](std::string_view pass, const ir::Graph& after, double seconds) {
        report(options, "compile", pass, seconds, [&] { return ir::print(after); });
      });
}

// What no state_dict has.
void mark_optional(const Program& program, plan::Plan& plan) {
  std::set<std::string_view> names;
  for (const ProgramParameter& parameter : program.parameters()) {
    if (parameter.kind == ParameterKind::Constant || !parameter.persistent) {
      names.insert(parameter.name);
    }
  }
  for (plan::Parameter& parameter : plan.parameters) {
    parameter.optional = names.contains(parameter.name);
  }
}

std::string outline_text(const ir::Graph& lowered) {
  return base::join(lowering::outline(lowered), "\n");
}

// Everything about an engine that the plan does not say.
engine::Image finish_image(const Program& program, const CompileOptions& options,
                           const std::string& outline, engine::Image image) {
  image.name = options.name;
  image.metadata = options.metadata;
  image.metadata["settings"] = settings_text(options);
  image.metadata["in_spec"] = program.in_spec();
  image.metadata["out_spec"] = program.out_spec();
  image.metadata["outline"] = outline;
  std::set<std::string_view> read;
  for (const plan::Parameter& parameter : image.plan.parameters)
    read.insert(parameter.name);
  for (const ProgramParameter& parameter : program.parameters()) {
    if (read.contains(parameter.name)) continue;
    image.unused_parameters.push_back(parameter.name);
    image.unused_parameters.insert(image.unused_parameters.end(), parameter.aliases.begin(),
                                   parameter.aliases.end());
  }
  mark_optional(program, image.plan);
  plan::verify(image.plan);
  // Also of a stripped engine: its optional parameters come with it.
  image.weights = program.weights();
  image.stripped = !options.weights;
  return image;
}

engine::Image make_image(const Program& program, const CompileOptions& options, ir::Graph& graph,
                         const CompileBackend& backend) {
  Clock clock;
  const Settings settings = settings_of(options);
  const std::string outline = outline_text(graph);
  optimise(graph, settings, options);
  graph.erase_unused_parameters();
  engine::Image image;
  image.plan = backend.compile(graph, settings);
  image = finish_image(program, options, outline, std::move(image));
  report(options, "compile", "", clock.seconds(), [&] { return plan::to_string(image.plan); });
  return image;
}

// The lowered graph with its optimum.
std::unique_ptr<ir::Graph> prepare(const Program& program, const CompileOptions& options) {
  settings_of(options);  // Refuses bad options before the work begins.
  std::unique_ptr<ir::Graph> graph = lower(program, options);
  set_optimum(*graph, options);
  return graph;
}

partitioning::Partition partition(const ir::Graph& graph, const CompileOptions& options,
                                  const CompileBackend& backend) {
  const Clock clock;
  partitioning::Partition partition = partitioning::partition(graph, backend);
  report(options, "partition", "", clock.seconds(),
         [&] { return partitioning::explain(graph, partition); });
  return partition;
}

Engine realise(engine::Image image, const CompileOptions& options) {
  const Clock clock;
  Engine engine = engine::create(std::move(image), options.engine);
  report(options, "realise", "", clock.seconds(), [&] { return engine.steps(); });
  return engine;
}

}  // namespace

std::string_view name(Stage stage) { return kStageNames[static_cast<size_t>(stage)]; }

Stage parse_stage(std::string_view name) {
  for (size_t i = 0; i < std::size(kStageNames); ++i) {
    if (kStageNames[i] == name) return static_cast<Stage>(i);
  }
  base::fail("pipeline", ErrorCode::InvalidArgument, "no stage '", name,
             "'; want lower, partition or compile");
}

const CompileBackend& compile_backend(std::string_view name) {
  for (const CompileBackend* backend : compile_backends()) {
    if (backend->name() == name) return *backend;
  }
  base::fail("pipeline", ErrorCode::InvalidArgument, "no backend '", name,
             "' in this build; it has ", base::join(backends(), ", "));
}

std::optional<engine::Image> run(const Program& program, const CompileOptions& options,
                                 Stage until) {
  const CompileBackend& backend = compile_backend(options.backend);
  const std::unique_ptr<ir::Graph> graph = prepare(program, options);
  if (until == Stage::Lower) return std::nullopt;
  const partitioning::Partition parts = partition(*graph, options, backend);
  if (until == Stage::Partition) return std::nullopt;
  partitioning::require_whole(parts);
  return make_image(program, options, *graph, backend);
}

}  // namespace regraft::pipeline

namespace regraft {

Engine compile(const Program& program, const CompileOptions& options) {
  const compilation::CompileBackend& backend = pipeline::compile_backend(options.backend);
  const std::unique_ptr<ir::Graph> graph = pipeline::prepare(program, options);
  partitioning::require_whole(pipeline::partition(*graph, options, backend));
  const std::string outline = pipeline::outline_text(*graph);
  pipeline::Steps steps;
  steps.compile = [&] { return pipeline::make_image(program, options, *graph, backend); };
  steps.finish = [&](engine::Image image) {
    return pipeline::finish_image(program, options, outline, std::move(image));
  };
  steps.realise = [&](engine::Image image) { return pipeline::realise(std::move(image), options); };
  return pipeline::compile_cached(*graph, options, steps);
}

CacheKey cache_key(const Program& program, const CompileOptions& options) {
  pipeline::compile_backend(options.backend);
  const std::unique_ptr<ir::Graph> graph = pipeline::prepare(program, options);
  pipeline::GraphKey key = pipeline::graph_key(*graph, options);
  CacheKey out{std::move(key.digest), {}, key.names.inputs, key.names.outputs, key.names.symbols};
  for (const cache::Names::Parameter& parameter : key.names.parameters)
    out.parameters.push_back(parameter.name);
  return out;
}

PartitionInfo partition(const Program& program, const CompileOptions& options,
                        const PartitionOptions& rules) {
  return partitioning::partition_program(program, pipeline::compile_backend(options.backend),
                                         rules);
}

Program segment_program(const Program& program, const SegmentInfo& segment) {
  return program::extract(program, segment);
}

std::vector<std::string> outline(const Program& program, const CompileOptions& options) {
  return lowering::outline(*pipeline::lower(program, options));
}

std::string explain(const Program& program, const CompileOptions& options) {
  const compilation::CompileBackend& backend = pipeline::compile_backend(options.backend);
  const std::unique_ptr<ir::Graph> graph = pipeline::prepare(program, options);
  std::string text = partitioning::explain(*graph, partitioning::partition(*graph, backend));
  pipeline::optimise(*graph, pipeline::settings_of(options), options);
  return text + "\nrefit map\n" + partitioning::refit_map_text(*graph);
}

std::vector<std::string> backends() {
  std::vector<std::string> names;
  for (const auto* backend : pipeline::compile_backends())
    names.emplace_back(backend->name());
  return names;
}

std::vector<std::string> pass_names() {
  std::vector<std::string> names;
  for (const std::string_view name : lowering::pass_names())
    names.emplace_back(name);
  for (const compilation::Pass& pass : compilation::passes()) {
    if (std::find(names.begin(), names.end(), pass.name) == names.end()) {
      names.emplace_back(pass.name);
    }
  }
  return names;
}

}  // namespace regraft
