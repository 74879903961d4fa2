#include "program/serialised.h"

namespace regraft::program {

std::optional<DType> try_dtype_of(int serialised) {
  switch (serialised) {
    case 1:
      return DType::U8;
    case 2:
      return DType::I8;
    case 3:
      return DType::I16;
    case 4:
      return DType::I32;
    case 5:
      return DType::I64;
    case 6:
      return DType::F16;
    case 7:
      return DType::F32;
    case 8:
      return DType::F64;
    case 10:
      return DType::C64;
    case 11:
      return DType::C128;
    case 12:
      return DType::Bool;
    case 13:
      return DType::BF16;
    case 29:
      return DType::F8E4M3FN;
    case 30:
      return DType::F8E5M2;
    default:
      return std::nullopt;
  }
}

}  // namespace regraft::program
