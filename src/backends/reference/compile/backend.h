#pragma once

#include "compilation/compile_backend.h"

namespace regraft::reference {

// One step "reference.<op>" per node, for every op of the catalogue; no fusion, no views.
const compilation::CompileBackend& compile_backend();

}  // namespace regraft::reference
