#include "compilation/compile_backend.h"

namespace regraft::compilation {

std::string_view name(Precision precision) {
  switch (precision) {
    case Precision::F32:
      return "f32";
    case Precision::BF16:
      return "bf16";
    case Precision::F16:
      return "f16";
  }
  return "";
}

}  // namespace regraft::compilation
