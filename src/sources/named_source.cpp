#include "sources/named_source.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/fail.h"
#include "sources/text.h"

namespace regraft::sources {

NamedSource::NamedSource(std::string description, std::vector<std::string> names)
    : description_(std::move(description)), names_(std::move(names)), by_name_(names_.size()) {
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [&](uint32_t a, uint32_t b) { return names_[a] < names_[b]; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    if (names_[by_name_[i - 1]] == names_[by_name_[i]]) {
      base::fail("sources", ErrorCode::InvalidArgument, description_, ": ",
                 printable(names_[by_name_[i]]), " occurs twice");
    }
  }
}

size_t NamedSource::index(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](uint32_t i, std::string_view n) { return names_[i] < n; });
  if (at != by_name_.end() && names_[*at] == name) return *at;
  const auto near = base::nearest(name, names_);
  base::fail("sources", ErrorCode::NotFound, description_, ": no tensor named '", printable(name),
             "'", near ? "; the nearest name is '" + printable(*near) + "'" : "");
}

}  // namespace regraft::sources
