#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace regraft::cli {

// What the command line says, by verb. Plain data; names of files and options are unchecked.

// Options of every verb.
struct CommonArguments {
  bool json = false;
  bool quiet = false;
  int threads = 0;  // 0: the library's default.
};

// Options of every verb that compiles.
struct CompilerArguments {
  std::string program;
  std::string backend = "cpu";
  std::string precision = "f32";
  bool allow_tf32 = false;
  std::vector<std::string> optimum;  // "s0=8"
  std::vector<std::string> without;
};

struct CompileArguments {
  CompilerArguments compiler;
  std::string output;
  bool strip = false;
  bool immutable = false;
  std::string stop_after;
  std::string dump;  // Folder.
};

struct RunArguments {
  std::string engine;
  std::string weights;
  std::vector<std::string> inputs;   // "x.npy" in order, or "name=x.npy".
  std::vector<std::string> outputs;  // The same.
  int repeat = 1;
};

struct ProfileArguments {
  std::string engine;
  std::string weights;
  std::string device;
  std::vector<std::string> inputs;  // As of RunArguments; none: random numbers.
  int runs = 20;
};

struct RefitArguments {
  std::string engine;
  std::string weights;
  std::string output;
  bool partial = false;
  bool cast = false;
  bool dry_run = false;
  bool allow_unexpected = false;
  bool strip = false;
  bool immutable = false;
};

struct InspectArguments {
  std::string engine;
};

struct ExplainArguments {
  CompilerArguments compiler;
};

enum class Verb { Compile, Run, Profile, Refit, Inspect, Explain };

struct Arguments {
  Verb verb = Verb::Compile;
  CommonArguments common;
  CompileArguments compile;
  RunArguments run;
  ProfileArguments profile;
  RefitArguments refit;
  InspectArguments inspect;
  ExplainArguments explain;
};

// Reads the command line. Prints help, the version or what is wrong with it, and then leaves an
// exit code (0 or 2) instead of arguments.
std::optional<Arguments> parse_arguments(int argc, char** argv, int& exit_code);

}  // namespace regraft::cli
