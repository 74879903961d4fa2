#pragma once

#include <optional>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// Kernels for lines that lie well, for which make_line() is several times slower. Nothing where the
// operands lie otherwise.

// Norms of dense rows ("norm").
std::optional<Launch> try_make_row_norm(CudaDevice& device, const LineSpec& spec);

// Sums and means of columns that are neighbours in memory ("reduce").
std::optional<Launch> try_make_column_reduce(CudaDevice& device, const LineSpec& spec,
                                             std::string_view op);

}  // namespace regraft::cuda
