#include "sources/named_source.h"

#include <utility>

#include "base/fail.h"
#include "sources/text.h"

namespace regraft::sources {

NamedSource::NamedSource(std::string description, std::vector<std::string> names)
    : description_(std::move(description)), names_(std::move(names)) {
  by_name_.reserve(names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    if (by_name_.emplace(names_[i], i).second) continue;
    base::fail("sources", ErrorCode::InvalidArgument, description_, ": ", printable(names_[i]),
               " occurs twice");
  }
}

size_t NamedSource::index(std::string_view name) const {
  const auto at = by_name_.find(name);
  if (at != by_name_.end()) return at->second;
  const auto near = base::nearest(name, names_);
  base::fail("sources", ErrorCode::NotFound, description_, ": no tensor named '", printable(name),
             "'", near ? "; the nearest name is '" + printable(*near) + "'" : "");
}

}  // namespace regraft::sources
