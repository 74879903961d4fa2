#include <algorithm>
#include <chrono>
#include <optional>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/progress.h"
#include "cli/texts.h"
#include "sources/npy.h"
#include "tensor/copy.h"

namespace regraft::cli {
namespace {

void write_output(const std::string& path, const Tensor& tensor) {
  if (sources::is_npy_dtype(tensor.dtype())) return sources::write_npy(path, tensor.view());
  Tensor wide(DType::F32, tensor.dims());
  copy(tensor.view(), wide.mutable_view());
  sources::write_npy(path, wide.view());
}

struct Times {
  double median = 0, least = 0;
};

Times times_of(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front()};
}

void print_result(const RunArguments& arguments, const CommonArguments& common,
                  const Signature& signature, const std::vector<Tensor>& outputs,
                  const std::vector<int>& files, const Times& times) {
  JsonWriter json;
  json.begin_object().member("median_seconds", times.median).member("least_seconds", times.least);
  json.key("outputs").begin_array();
  std::string text;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string path = files[i] < 0 ? "" : split_name(arguments.outputs[files[i]]).second;
    const std::string spec = outputs[i].view().spec();
    text +=
        base::cat(signature.outputs[i].name, ": ", spec, path.empty() ? "" : " -> " + path, "\n");
    json.begin_object().member("name", signature.outputs[i].name);
    json.member("type", spec).member("path", path).end_object();
  }
  json.end_array().end_object();
  text += arguments.repeat == 1 ? "time: " + time_text(times.median)
                                : base::cat("time: median ", time_text(times.median), ", least ",
                                            time_text(times.least), " of ", arguments.repeat);
  print(common.json ? json.text() : text);
}

}  // namespace

void run(const RunArguments& arguments, const CommonArguments& common) {
  Progress progress(common.quiet);
  progress.show("loading " + arguments.engine);
  Engine engine = Engine::load(arguments.engine);
  if (!arguments.weights.empty()) {
    progress.show("refitting with " + arguments.weights);
    engine.refit(*open_source(arguments.weights));
  }
  const Signature signature = engine.signature();
  const InputFiles inputs = read_inputs(arguments.inputs, signature);
  const std::vector<int> files = assign(arguments.outputs, signature.outputs, "--output");
  std::vector<Tensor> outputs;
  std::vector<double> seconds;
  for (int i = 0; i < arguments.repeat; ++i) {
    progress.show(base::cat("run ", i + 1, " of ", arguments.repeat));
    const auto begin = std::chrono::steady_clock::now();
    outputs = engine.run(inputs.views);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i] >= 0) write_output(split_name(arguments.outputs[files[i]]).second, outputs[i]);
  }
  print_result(arguments, common, signature, outputs, files, times_of(std::move(seconds)));
}

}  // namespace regraft::cli
