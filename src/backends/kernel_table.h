#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

namespace regraft::backends {

// The kernels of all files of a backend, by Def::name.
template <typename Def>
class KernelTable {
 public:
  KernelTable(std::initializer_list<std::span<const Def>> files) {
    for (const std::span<const Def>& file : files)
      kernels_.insert(kernels_.end(), file.begin(), file.end());
    std::sort(kernels_.begin(), kernels_.end(),
              [](const Def& a, const Def& b) { return a.name < b.name; });
  }

  // Null: none of that name.
  const Def* find(std::string_view name) const {
    const auto at =
        std::lower_bound(kernels_.begin(), kernels_.end(), name,
                         [](const Def& def, std::string_view wanted) { return def.name < wanted; });
    return at != kernels_.end() && at->name == name ? &*at : nullptr;
  }

 private:
  std::vector<Def> kernels_;
};

}  // namespace regraft::backends
