#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/pointwise_space.h"

namespace regraft::cuda {

// What the sources of pointwise kernels begin with.
std::string pointwise_prelude();

// A program as statements: from x0, x1, ..., of element types, to `result`.
std::string pointwise_statements(std::string_view program);

// The types Operands and Layout, and
//
//   __device__ void body(const Operands& p, const Layout& a, index block, index blocks, char* tile)
//
// which does the part of one block of threads; `tile` is 2 * kTileBytes of shared memory, read
// where the space is tiled. Operands are the pointers of the output and of the inputs, and then,
// for each input of `passed`, one to the number of its elements that are not finite and one to
// where its elements are written too, as they lie (null: not wanted). Each element of such an input
// is read once. A thread loads `at_once` vectors before it stores the first.
std::string pointwise_body(const PointwiseSpec& spec, const Space& space,
                           const std::vector<size_t>& passed, int at_once = 1);

// The words of Layout.
std::vector<int64_t> pointwise_layout(const Space& space);

}  // namespace regraft::cuda
