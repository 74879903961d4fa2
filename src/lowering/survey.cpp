#include "lowering/survey.h"

#include "lowering/importer.h"

namespace regraft::lowering {

void survey(const Program& program, const OnNode& on_node) {
  Importer(program.impl(), true).survey(on_node);
}

}  // namespace regraft::lowering
