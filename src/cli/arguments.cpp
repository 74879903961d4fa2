#include "cli/arguments.h"

#include <CLI/CLI.hpp>

#include "regraft/compile.h"

namespace regraft::cli {
namespace {

void add_common(CLI::App& verb, CommonArguments& common) {
  verb.add_flag("--json", common.json, "Print the result as JSON on standard output");
  verb.add_flag("-q,--quiet", common.quiet, "No progress on standard error");
  verb.add_option("--threads", common.threads, "Threads to use (default: all cores)")
      ->check(CLI::Range(1, 4096));
}

void add_compiler(CLI::App& verb, CompilerArguments& compiler) {
  std::string names;
  for (const std::string& name : backends())
    names += (names.empty() ? "" : ", ") + name;
  verb.add_option("program", compiler.program, "Program that torch.export.save wrote (.pt2)")
      ->required();
  verb.add_option("--backend", compiler.backend, "Backend: " + names)->capture_default_str();
  verb.add_option("--precision", compiler.precision,
                  "What to compute in where the program says f32: f32, bf16 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  verb.add_flag("--allow-tf32", compiler.allow_tf32,
                "Products of f32 may be calculated in TF32 (cuda)");
  verb.add_option("--optimum", compiler.optimum,
                  "Size of a dynamic dimension to tune for, e.g. s0=8 (repeatable)");
  verb.add_option("--without", compiler.without, "Pass to leave out (repeatable)");
}

void add_compile(CLI::App& app, Arguments& out) {
  CLI::App* verb = app.add_subcommand("compile", "Make an engine (.rgf) of a program (.pt2)");
  CompileArguments& arguments = out.compile;
  add_compiler(*verb, arguments.compiler);
  auto* output = verb->add_option("-o,--output", arguments.output, "Engine file to write");
  auto* strip = verb->add_flag("--strip", arguments.strip,
                               "Leave the weights out: kilobytes; refit before running");
  verb->add_flag("--immutable", arguments.immutable,
                 "Keep only the final constants: runs, refuses refits")
      ->excludes(strip);
  auto* stop = verb->add_option("--stop-after", arguments.stop_after,
                                "Write no engine; end after this stage: lower, partition, compile")
                   ->check(CLI::IsMember({"lower", "partition", "compile"}));
  verb->add_option("--dump", arguments.dump, "Folder for the text of every stage and pass");
  verb->callback([=, &out] {
    if (output->count() == 0 && stop->count() == 0) {
      throw CLI::RequiredError("--output (or --stop-after)");
    }
    out.verb = Verb::Compile;
  });
  add_common(*verb, out.common);
}

void add_run(CLI::App& app, Arguments& out) {
  CLI::App* verb = app.add_subcommand("run", "Run an engine on tensors from .npy files");
  RunArguments& arguments = out.run;
  verb->add_option("engine", arguments.engine, "Engine file (.rgf)")->required();
  verb->add_option("-i,--input", arguments.inputs,
                   "x.npy in the order of the signature, or name=x.npy (repeatable)");
  verb->add_option("-o,--output", arguments.outputs,
                   "y.npy in the order of the signature, or name=y.npy (repeatable)");
  verb->add_option("--weights", arguments.weights,
                   "Refit with this .safetensors or .pt2 first (stripped engines need it)");
  verb->add_option("--repeat", arguments.repeat, "Run this often and report the times")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  verb->callback([&out] { out.verb = Verb::Run; });
  add_common(*verb, out.common);
}

void add_profile(CLI::App& app, Arguments& out) {
  CLI::App* verb = app.add_subcommand(
      "profile", "Time every step of an engine and compare with what the machine can do");
  ProfileArguments& arguments = out.profile;
  verb->add_option("engine", arguments.engine, "Engine file (.rgf)")->required();
  verb->add_option("-i,--input", arguments.inputs,
                   "As in run; random numbers of the sizes tuned for without it");
  verb->add_option("--weights", arguments.weights, "As in run");
  verb->add_option("--device", arguments.device, "Where to run, e.g. cuda:1");
  verb->add_option("--runs", arguments.runs, "How often to run; medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  verb->callback([&out] { out.verb = Verb::Profile; });
  add_common(*verb, out.common);
}

void add_refit(CLI::App& app, Arguments& out) {
  CLI::App* verb = app.add_subcommand("refit", "Give an engine new weights");
  RefitArguments& arguments = out.refit;
  verb->add_option("engine", arguments.engine, "Engine file (.rgf)")->required();
  verb->add_option("-w,--weights", arguments.weights, "New weights (.safetensors or .pt2)")
      ->required();
  auto* output = verb->add_option("-o,--output", arguments.output, "Engine file to write");
  verb->add_flag("--partial", arguments.partial,
                 "Parameters that the weights lack keep their values");
  verb->add_flag("--cast", arguments.cast, "Convert weights of another dtype");
  verb->add_flag("--allow-unexpected", arguments.allow_unexpected,
                 "Ignore names that the engine does not know");
  auto* dry_run =
      verb->add_flag("--dry-run", arguments.dry_run, "Check and report only; write nothing");
  auto* strip = verb->add_flag("--strip", arguments.strip, "As in compile");
  verb->add_flag("--immutable", arguments.immutable, "As in compile")->excludes(strip);
  verb->callback([=, &out] {
    if (output->count() == 0 && dry_run->count() == 0) {
      throw CLI::RequiredError("--output (or --dry-run)");
    }
    out.verb = Verb::Refit;
  });
  add_common(*verb, out.common);
}

void add_inspect(CLI::App& app, Arguments& out) {
  CLI::App* verb = app.add_subcommand(
      "inspect", "Show an engine: signature, parameters, constants, steps, memory");
  verb->add_option("engine", out.inspect.engine, "Engine file (.rgf)")->required();
  verb->callback([&out] { out.verb = Verb::Inspect; });
  add_common(*verb, out.common);
}

void add_explain(CLI::App& app, Arguments& out) {
  CLI::App* verb =
      app.add_subcommand("explain",
                         "Show which backend takes which node of a program and why not,\n"
                         "and which parameter feeds which constants through which steps");
  add_compiler(*verb, out.explain.compiler);
  verb->callback([&out] { out.verb = Verb::Explain; });
  add_common(*verb, out.common);
}

}  // namespace

std::optional<Arguments> parse_arguments(int argc, char** argv, int& exit_code) {
  Arguments out;
  CLI::App app(
      "Regraft compiles exported PyTorch programs into engines whose weights can be replaced.\n"
      "\n"
      "  regraft compile resnet18.pt2 -o resnet18.rgf\n"
      "  regraft run     resnet18.rgf --input photo.npy --output logits.npy\n"
      "  regraft profile resnet18.rgf\n"
      "  regraft refit   resnet18.rgf --weights new.safetensors -o new.rgf\n"
      "\n"
      "Exit codes: 0 done, 1 something is wrong with the input, 2 wrong usage.\n"
      "Help on a verb: regraft compile --help",
      "regraft");
  app.require_subcommand(1);
  app.set_version_flag("--version", "regraft " REGRAFT_VERSION);
  add_compile(app, out);
  add_run(app, out);
  add_profile(app, out);
  add_refit(app, out);
  add_inspect(app, out);
  add_explain(app, out);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 has codes of its own for what we call usage.
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  return out;
}

}  // namespace regraft::cli
