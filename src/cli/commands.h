#pragma once

#include "cli/arguments.h"

// One function per verb. They print the result on standard output and progress on standard error,
// and throw Error for everything that is wrong with what they read.
namespace regraft::cli {

void compile(const CompileArguments& arguments, const CommonArguments& common);
void run(const RunArguments& arguments, const CommonArguments& common);
void profile(const ProfileArguments& arguments, const CommonArguments& common);
void refit(const RefitArguments& arguments, const CommonArguments& common);
void inspect(const InspectArguments& arguments, const CommonArguments& common);
void explain(const ExplainArguments& arguments, const CommonArguments& common);

}  // namespace regraft::cli
