#include <cstdio>
#include <exception>
#include <new>

#include "base/parallel.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "regraft/error.h"
#include "regraft/log.h"

namespace {

using regraft::cli::Arguments;
using regraft::cli::Verb;

void dispatch(const Arguments& arguments) {
  const auto& common = arguments.common;
  if (common.threads > 0) regraft::base::set_thread_count(common.threads);
  switch (arguments.verb) {
    case Verb::Compile:
      return regraft::cli::compile(arguments.compile, common);
    case Verb::Run:
      return regraft::cli::run(arguments.run, common);
    case Verb::Profile:
      return regraft::cli::profile(arguments.profile, common);
    case Verb::Refit:
      return regraft::cli::refit(arguments.refit, common);
    case Verb::Inspect:
      return regraft::cli::inspect(arguments.inspect, common);
    case Verb::Explain:
      return regraft::cli::explain(arguments.explain, common);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int exit_code = 0;
  const auto arguments = regraft::cli::parse_arguments(argc, argv, exit_code);
  if (!arguments) return exit_code;
  regraft::set_log_callback([](regraft::LogLevel level, std::string_view message) {
    if (level == regraft::LogLevel::Debug) return;
    std::fprintf(stderr, "regraft: %.*s\n", static_cast<int>(message.size()), message.data());
  });
  try {
    dispatch(*arguments);
  } catch (const std::bad_alloc&) {
    std::fputs("regraft: [cli] out of memory\n", stderr);
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "regraft: %s\n", error.what());
    return 1;
  }
  // A full disk or a closed pipe shows only here.
  if (std::fflush(stdout) != 0) {
    std::fputs("regraft: [cli] cannot write to standard output\n", stderr);
    return 1;
  }
  return 0;
}
