#include <algorithm>
#include <vector>

#include "ops/op.h"

namespace regraft::ops {

#define REGRAFT_OP_FAMILY(file) extern const OpFamily k_family_##file;
#include "ops/catalogue_list.inc"
#undef REGRAFT_OP_FAMILY

namespace {

std::vector<Op> build_catalogue() {
  std::vector<Op> ops;
  const auto add = [&](OpFamily family) {
    for (const OpDef& def : family) {
      ops.push_back(
          {std::string(def.name), Schema::parse(def.schema_text), def.type_rule, def.traits});
    }
  };
#define REGRAFT_OP_FAMILY(file) add(k_family_##file);
#include "ops/catalogue_list.inc"
#undef REGRAFT_OP_FAMILY
  std::sort(ops.begin(), ops.end(), [](const Op& a, const Op& b) { return a.name < b.name; });
  for (size_t i = 1; i < ops.size(); ++i) {
    if (ops[i].name == ops[i - 1].name) {
      base::fail("ops", ErrorCode::Internal, "two catalogue entries named ", ops[i].name);
    }
  }
  return ops;
}

}  // namespace

std::span<const Op> catalogue() {
  static const std::vector<Op> ops = build_catalogue();
  return ops;
}

const Op* find_op(std::string_view name) {
  const auto ops = catalogue();
  const auto at = std::lower_bound(ops.begin(), ops.end(), name,
                                   [](const Op& op, std::string_view n) { return op.name < n; });
  return at != ops.end() && at->name == name ? &*at : nullptr;
}

const Op& op(std::string_view name) {
  if (const Op* found = find_op(name)) return *found;
  std::vector<std::string> names;
  for (const Op& op : catalogue())
    names.push_back(op.name);
  const auto close = base::nearest(name, names);
  base::fail("ops", ErrorCode::NotFound, "no op named '", name, "'",
             close ? "; did you mean '" + *close + "'?" : "");
}

}  // namespace regraft::ops
