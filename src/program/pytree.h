#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace regraft::program {

// A name for each leaf of a serialised pytree (torch.utils._pytree.treespec_dumps): the keys and
// indices on the way, joined by dots ("logits", "past.0.1"); where the way begins with an index,
// "output_" leads ("output_0"), and a bare leaf is "output". All different. `count` names of the
// form "output_<i>" when the text is malformed or has another number of leaves.
std::vector<std::string> leaf_names(std::string_view spec, size_t count);

}  // namespace regraft::program
