#include <algorithm>
#include <cmath>
#include <limits>

#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

namespace regraft::lowering::passes {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Scaled {
  ir::Value* value;
  double scale;
};

// value * scale, from a chain of products and quotients with numbers.
Scaled without_scale(ir::Value* value) {
  double scale = 1;
  while (true) {
    const ir::Node* node = value->producer();
    if (node == nullptr || !(node->is("mul") || node->is("div"))) break;
    const std::optional<double> scalar = scalar_of(node);
    ir::Value* x = beside_scalar(node);
    if (!scalar || x == nullptr || !(x->type() == value->type())) break;
    if (node->is("div") && (node->input(1) != nullptr || !node->attributes().is_none("rounding"))) {
      break;
    }
    scale = node->is("mul") ? scale * *scalar : scale / *scalar;
    value = x;
  }
  return {value, scale};
}

// Whether no element can be -inf or NaN, whatever the inputs: sums of chosen finite numbers.
bool is_finite(const ir::Value* value, int depth = 0) {
  const ir::Node* node = value->producer();
  if (node == nullptr || depth > 10) return false;
  const auto scalar_is_finite = [&](const char* name) {
    if (node->attributes().is_none(name)) return true;
    const Attribute& scalar = *node->attributes().find(name);
    const auto* size = std::get_if<SymInt>(&scalar);
    return size != nullptr || std::isfinite(node->attributes().number(name));
  };
  const auto input_is_finite = [&](size_t i) {
    return node->input(i) == nullptr || is_finite(node->input(i), depth + 1);
  };
  if (node->is("full")) return scalar_is_finite("value");
  if (node->is("where")) {
    return scalar_is_finite("x_scalar") && scalar_is_finite("y_scalar") && input_is_finite(1) &&
           input_is_finite(2);
  }
  if (node->is("reshape") || node->is("expand") || node->is("permute") || node->is("slice")) {
    return input_is_finite(0);
  }
  if (node->is("cast")) {
    const DType from = node->input(0)->dtype();
    return from == DType::Bool || is_integral(from) || is_finite(node->input(0), depth + 1);
  }
  // (1 - mask) * lowest: one finite factor times numbers of a few bits.
  if (node->is("mul") || node->is("sub") || node->is("add")) {
    return scalar_is_finite("scalar") && input_is_finite(0) && input_is_finite(1);
  }
  return false;
}

struct Weights {
  ir::Value* scores;  // Before the softmax.
  bool is_guarded;    // Rows that are masked altogether give zeros, not NaN.
};

bool is_last_axis(const ir::Node* node, const ir::Value* x) {
  const int64_t last = static_cast<int64_t>(x->dims().size()) - 1;
  if (node->is("softmax")) return node->attributes().integer("dim") == last;
  return !node->attributes().is_none("dims") && node->attributes().flag("keepdim") &&
         node->attributes().sizes("dims") == SymDims{SymInt(last)};
}

// x of "x == -inf", or null.
ir::Value* compared_with_minus_infinity(const ir::Value* value) {
  const ir::Node* eq = producer(value, "eq");
  return eq != nullptr && scalar_of(eq) == -kInfinity ? beside_scalar(eq) : nullptr;
}

// Scores whose rows are -inf throughout where `condition` holds: all(x == -inf), or
// not any(not (x == -inf)); null for any other condition.
ir::Value* masked_rows(const ir::Value* condition) {
  if (const ir::Node* all = producer(condition, "all")) {
    return is_last_axis(all, all->input(0)) ? compared_with_minus_infinity(all->input(0)) : nullptr;
  }
  const ir::Node* outer = producer(condition, "logical_not");
  const ir::Node* any = outer == nullptr ? nullptr : producer(outer->input(0), "any");
  const ir::Node* inner = any == nullptr ? nullptr : producer(any->input(0), "logical_not");
  if (inner == nullptr || !is_last_axis(any, any->input(0))) return nullptr;
  return compared_with_minus_infinity(inner->input(0));
}

std::optional<Weights> match_weights(ir::Value* value) {
  ir::Value* guarded = nullptr;
  if (const ir::Node* where = producer(value, "where")) {
    const bool zero = where->input(1) == nullptr ? where->attributes().number("x_scalar") == 0
                                                 : constant_of(where->input(1)) == 0.0;
    guarded = masked_rows(where->input(0));
    if (!zero || guarded == nullptr || where->input(2) == nullptr) return std::nullopt;
    value = where->input(2);
  }
  // 16-bit models take the softmax in f32, as the composite does inside.
  const ir::Node* narrow = producer(value, "cast");
  const ir::Node* softmax = producer(narrow == nullptr ? value : narrow->input(0), "softmax");
  if (softmax == nullptr || !is_last_axis(softmax, value)) return std::nullopt;
  ir::Value* scores = softmax->input(0);
  if (!(scores->type() == value->type()) || (guarded != nullptr && guarded != scores)) {
    return std::nullopt;
  }
  return Weights{scores, guarded != nullptr};
}

struct Scores {
  ir::Value *query = nullptr, *key = nullptr, *mask = nullptr;  // The key is transposed.
  double scale = 1;
};

std::optional<Scores> match_scores(ir::Value* value) {
  Scores out;
  Scaled product = without_scale(value);
  if (producer(product.value, "matmul") == nullptr) {
    const ir::Node* add = producer(value, "add");
    if (add == nullptr || add->input(0) == nullptr || add->input(1) == nullptr) return std::nullopt;
    for (size_t i = 0; i < 2 && out.mask == nullptr; ++i) {
      product = without_scale(add->input(i));
      const bool keeps_shape = product.value->type() == value->type();
      if (producer(product.value, "matmul") != nullptr && keeps_shape) out.mask = add->input(1 - i);
    }
    if (out.mask == nullptr) return std::nullopt;
  }
  const ir::Node* matmul = producer(product.value, "matmul");
  const Scaled query = without_scale(matmul->input(0)), key = without_scale(matmul->input(1));
  out.query = query.value;
  out.key = key.value;
  out.scale = product.scale * query.scale * key.scale;
  return out;
}

bool is_attention_shape(const Scores& scores, const ir::Value* v, const ir::Value* out) {
  const size_t rank = out->dims().size();
  const auto fits = [&](const ir::Value* x) {
    return x->dims().size() == rank && x->dtype() == out->dtype() &&
           std::equal(x->dims().begin(), x->dims().end() - 2, out->dims().begin());
  };
  return rank >= 3 && is_floating(out->dtype()) && fits(scores.query) && fits(scores.key) &&
         fits(v);
}

bool is_default_scale(double scale, const SymInt& features) {
  return features.is_constant() &&
         std::fabs(scale * std::sqrt(static_cast<double>(features.value())) - 1) < 1e-6;
}

// A mask that adds 0 or -inf is a choice: the condition says which scores stay.
ir::Value* as_choice(ir::Value* mask) {
  const ir::Node* where = producer(mask, "where");
  if (where == nullptr || where->input(1) != nullptr || where->input(2) != nullptr) return mask;
  const bool keeps = where->attributes().number("x_scalar") == 0 &&
                     where->attributes().number("y_scalar") == -kInfinity;
  ir::Value* condition = where->input(0);
  return keeps && condition->dims() == mask->dims() ? condition : mask;
}

void fuse(ir::Graph& graph, ir::Node* node) {
  ir::Value* v = node->input(1);
  const std::optional<Weights> weights = match_weights(node->input(0));
  if (!weights) return;
  const std::optional<Scores> scores = match_scores(weights->scores);
  if (!scores || !is_attention_shape(*scores, v, node->output())) return;
  // Rows masked altogether by -inf are NaN without the guard and 0 in the composite.
  if (!weights->is_guarded && scores->mask != nullptr && !is_finite(scores->mask)) return;
  if (scores->mask != nullptr && scores->mask->dtype() != node->output()->dtype()) return;
  Rewriter rewrite(graph, node);
  Attributes attributes;
  if (!is_default_scale(scores->scale, scores->query->dims().back())) {
    attributes.set("scale", scores->scale);
  }
  ir::Value* mask = scores->mask == nullptr ? nullptr : as_choice(scores->mask);
  if (mask != nullptr && mask->dims().size() < 2) {
    SymDims dims(2 - mask->dims().size(), 1);
    dims.insert(dims.end(), mask->dims().begin(), mask->dims().end());
    mask = rewrite.reshape(mask, dims);
  }
  rewrite.replace_root(rewrite.emit("scaled_dot_product_attention",
                                    {scores->query, rewrite.transpose(scores->key), v, mask},
                                    attributes));
}

// Heads [b, h, s, d] before repeat_kv made [b, h * n, s, d] of them, each n times in a row; null
// for anything else.
ir::Value* before_repeat(ir::Value* value) {
  if (value->dims().size() != 4) return nullptr;
  if (const ir::Node* repeat = producer(value, "repeat_interleave")) {
    const Attributes& attributes = repeat->attributes();
    return !attributes.is_none("dim") && attributes.integer("dim") == 1 ? repeat->input(0)
                                                                        : nullptr;
  }
  const ir::Node* merge = producer(value, "reshape");
  const ir::Node* expand = merge == nullptr ? nullptr : producer(merge->input(0), "expand");
  const ir::Node* split = expand == nullptr ? nullptr : producer(expand->input(0), "reshape");
  if (split == nullptr) return nullptr;
  ir::Value* heads = split->input(0);
  const SymDims &own = heads->dims(), &wide = expand->output()->dims();
  if (own.size() != 4 || wide.size() != 5) return nullptr;
  const bool fits = split->output()->dims() == SymDims{own[0], own[1], 1, own[2], own[3]} &&
                    wide == SymDims{own[0], own[1], wide[2], own[2], own[3]} &&
                    value->dims() == SymDims{own[0], own[1] * wide[2], own[2], own[3]};
  return fits ? heads : nullptr;
}

void share_heads(ir::Graph& graph, ir::Node* node) {
  ir::Value *k = before_repeat(node->input(1)), *v = before_repeat(node->input(2));
  if (k == nullptr || v == nullptr || node->attributes().flag("enable_gqa")) return;
  if (!(k->dims()[1] == v->dims()[1])) return;
  Rewriter rewrite(graph, node);
  Attributes attributes = node->attributes();
  attributes.set("enable_gqa", true);
  rewrite.replace_root(rewrite.emit("scaled_dot_product_attention",
                                    {node->input(0), k, v, node->input(3)}, attributes));
}

void leave_out_default_scale(ir::Graph& graph, ir::Node* node) {
  Attributes attributes = node->attributes();
  if (attributes.is_none("scale")) return;
  if (!is_default_scale(attributes.number("scale"), node->input(0)->dims().back())) return;
  attributes.set("scale", std::monostate{});
  graph.set_attributes(node, attributes);
}

}  // namespace

void fuse_attention(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("matmul")) fuse(graph, node);
  });
  for_each_used(graph, [&](ir::Node* node) {
    if (!node->is("scaled_dot_product_attention")) return;
    leave_out_default_scale(graph, node);
    share_heads(graph, node);
  });
}

}  // namespace regraft::lowering::passes
