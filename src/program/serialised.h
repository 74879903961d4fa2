#pragma once

#include <optional>

#include "regraft/tensor.h"

namespace regraft::program {

// The serialiser's own numbering of dtypes (torch/_export/serde/schema.py, ScalarType), which is
// not that of c10. Nothing for those Regraft does not have.
std::optional<DType> try_dtype_of(int serialised);
// Its number of torch.strided.
inline constexpr int kStridedLayout = 7;

}  // namespace regraft::program
