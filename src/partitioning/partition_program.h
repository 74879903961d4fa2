#pragma once

#include "compilation/compile_backend.h"
#include "regraft/compile.h"

namespace regraft::partitioning {

// What regraft::partition() promises. A node stays outside when no lowering or no kernel takes any
// of it, when a rule excludes it, or when too few others would share its engine.
PartitionInfo partition_program(const Program& program, const compilation::CompileBackend& backend,
                                const PartitionOptions& rules);

}  // namespace regraft::partitioning
