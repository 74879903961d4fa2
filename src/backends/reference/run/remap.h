#pragma once

#include <vector>

#include "backends/reference/run/kernel.h"

namespace regraft::reference {

// For each position along an output axis, the position along the input axis that it reads, or -1
// for the fill value.
using AxisTable = std::vector<int64_t>;

// 0, 1, ..., size - 1.
AxisTable identity_table(int64_t size);

// to[i, j, ...] = from[tables[0][i], tables[1][j], ...]. One table per axis of both tensors, whose
// dtypes are equal. Entries must lie inside `from`.
void remap(const TensorView& from, const MutableTensorView& to,
           const std::vector<AxisTable>& tables, const Attribute& fill = 0.0);

}  // namespace regraft::reference
