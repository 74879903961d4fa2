#include "regraft/profile.h"

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/progress.h"
#include "cli/texts.h"

namespace regraft::cli {
namespace {

void write_step(JsonWriter& json, const StepProfile& step) {
  json.begin_object().member("kernel", step.kernel).member("origin", step.origin);
  json.member("tactic", step.tactic).member("seconds", step.seconds);
  json.member("bytes", step.bytes).member("flops", step.flops);
  json.member("roofline_seconds", step.roofline_seconds).end_object();
}

std::string profile_json(const Profile& profile) {
  JsonWriter json;
  json.begin_object().member("engine", profile.engine).member("device", profile.device);
  json.member("runs", profile.runs).member("clock", profile.clock);
  json.member("run_seconds", profile.run_seconds);
  json.member("steps_seconds", profile.steps_seconds()).member("bytes", profile.bytes());
  json.member("flops", profile.flops()).member("roofline_seconds", profile.roofline_seconds());
  json.key("peaks").begin_array();
  for (const Peak& peak : profile.peaks) {
    json.begin_object().member("of", peak.of).member("per_second", peak.per_second);
    json.member("source", peak.source).end_object();
  }
  json.end_array().key("steps").begin_array();
  for (const StepProfile& step : profile.steps)
    write_step(json, step);
  return json.end_array().end_object().text();
}

}  // namespace

void profile(const ProfileArguments& arguments, const CommonArguments& common) {
  Progress progress(common.quiet);
  progress.show("loading " + arguments.engine);
  EngineOptions options;
  options.device = arguments.device;
  Engine engine = Engine::load(arguments.engine, options);
  if (!arguments.weights.empty()) {
    progress.show("refitting with " + arguments.weights);
    engine.refit(*open_source(arguments.weights));
  }
  std::vector<Tensor> random;
  InputFiles inputs;
  if (!arguments.inputs.empty()) {
    inputs = read_inputs(arguments.inputs, engine.signature());
  } else {
    random = random_inputs(engine);
    for (const Tensor& tensor : random)
      inputs.views.push_back(tensor.view());
  }
  progress.show("timing " + arguments.engine);
  const Profile profile = regraft::profile(engine, inputs.views, arguments.runs);
  print(common.json ? profile_json(profile) : to_string(profile));
}

}  // namespace regraft::cli
