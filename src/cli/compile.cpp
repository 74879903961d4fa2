#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/texts.h"
#include "pipeline/pipeline.h"

namespace regraft::cli {
namespace {

struct Timing {
  std::string stage, pass;
  double seconds;
};

// Shows, times and dumps what compilation does.
class Watcher {
 public:
  Watcher(const CompileArguments& arguments, const CommonArguments& common)
      : dump_(arguments.dump), progress_(common.quiet) {
    if (dump_.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(dump_, error);
    if (error) base::fail("cli", ErrorCode::Io, "--dump ", dump_, ": ", error.message());
  }

  void on_event(const CompileEvent& event) {
    timings_.push_back({std::string(event.stage), std::string(event.pass), event.seconds});
    if (!dump_.empty()) dump(event);
    show(std::string(event.stage) + (event.pass.empty() ? " done" : " " + std::string(event.pass)));
  }

  void show(const std::string& what) { progress_.show(what); }
  const std::vector<Timing>& timings() const { return timings_; }

 private:
  // "03-compile-hoist.txt": in order of time.
  void dump(const CompileEvent& event) {
    std::string number = std::to_string(timings_.size());
    if (number.size() < 2) number = "0" + number;
    std::string file = number + "-" + std::string(event.stage);
    if (!event.pass.empty()) file += "-" + std::string(event.pass);
    const std::filesystem::path path = std::filesystem::path(dump_) / (file + ".txt");
    std::ofstream out(path, std::ios::binary);
    out << event.text();
    out.flush();
    if (!out) base::fail("cli", ErrorCode::Io, "cannot write ", path.string());
  }

  std::string dump_;
  Progress progress_;
  std::vector<Timing> timings_;
};

SaveOptions save_options(const CompileArguments& arguments) {
  SaveOptions options;
  if (arguments.strip) options.form = SaveForm::Stripped;
  if (arguments.immutable) options.form = SaveForm::Immutable;
  return options;
}

void print_result(const CompileArguments& arguments, const CommonArguments& common,
                  const Watcher& watcher, double seconds) {
  const bool wrote = arguments.stop_after.empty();
  const uintmax_t bytes = wrote ? std::filesystem::file_size(arguments.output) : 0;
  if (common.json) {
    JsonWriter json;
    json.begin_object();
    if (wrote) json.member("output", arguments.output).member("bytes", bytes);
    json.member("seconds", seconds).key("steps").begin_array();
    for (const Timing& timing : watcher.timings()) {
      json.begin_object().member("stage", timing.stage).member("pass", timing.pass);
      json.member("seconds", timing.seconds).end_object();
    }
    json.end_array().end_object();
    return print(json.text());
  }
  for (const Timing& timing : watcher.timings()) {
    if (timing.pass.empty()) print(timing.stage + ": " + time_text(timing.seconds));
  }
  if (wrote) {
    print(base::cat("wrote ", arguments.output, " (", bytes_text(static_cast<double>(bytes)),
                    ") in ", time_text(seconds)));
  }
}

}  // namespace

void compile(const CompileArguments& arguments, const CommonArguments& common) {
  const auto begin = std::chrono::steady_clock::now();
  CompileOptions options = to_options(arguments.compiler);
  options.weights = !arguments.strip;
  Watcher watcher(arguments, common);
  options.on_event = [&](const CompileEvent& event) { watcher.on_event(event); };
  watcher.show("reading " + arguments.compiler.program);
  const Program program = Program::read(arguments.compiler.program);
  if (!arguments.stop_after.empty()) {
    pipeline::run(program, options, pipeline::parse_stage(arguments.stop_after));
  } else {
    const Engine engine = regraft::compile(program, options);
    watcher.show("writing " + arguments.output);
    engine.save(arguments.output, save_options(arguments));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  print_result(arguments, common, watcher, seconds.count());
}

}  // namespace regraft::cli
