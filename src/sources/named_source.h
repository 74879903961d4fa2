#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "regraft/weight_source.h"

namespace regraft::sources {

// A WeightSource over a fixed table: finds a name's place and refuses unknown names, with the
// nearest known one. Immutable.
class NamedSource : public WeightSource {
 public:
  std::vector<std::string> names() const override { return names_; }
  std::string description() const override { return description_; }

 protected:
  NamedSource(const NamedSource&) = delete;
  NamedSource& operator=(const NamedSource&) = delete;
  // Throws Error{InvalidArgument} when a name occurs twice.
  NamedSource(std::string description, std::vector<std::string> names);
  // The place of a name in names(). Throws Error{NotFound}.
  size_t index(std::string_view name) const;

 private:
  std::string description_;
  std::vector<std::string> names_;
  std::unordered_map<std::string_view, size_t> by_name_;  // Of names_.
};

}  // namespace regraft::sources
