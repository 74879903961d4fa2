#include <algorithm>
#include <cctype>
#include <set>

#include "lowering/aten/aten.h"

// Einstein sums by permutes, products and matmul, from left to right.
namespace regraft::lowering::aten {
namespace {

// A label for each dimension: a letter, or a number above 255 for a dimension of the ellipsis,
// counted from its end so that they broadcast.
using Labels = std::vector<int>;
constexpr int kEllipsis = 256;

struct Term {
  ir::Value* value;
  Labels labels;
};

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

ptrdiff_t place(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) - labels.begin();
}

// Labels of one term of the equation; `hidden` dimensions stand for "...".
Labels read_labels(Call& call, std::string_view text, int hidden) {
  Labels out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text.substr(i, 3) == "...") {
      for (int k = hidden; k-- > 0;)
        out.push_back(kEllipsis + k);
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(text[i])) != 0) {
      out.push_back(text[i]);
    } else {
      call.unsupported("the equation '", text, "'");
    }
  }
  return out;
}

int count_letters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(),
                                        [](unsigned char c) { return std::isalpha(c) != 0; }));
}

ir::Value* permuted(Call& call, const Term& term, const Labels& order) {
  SymDims axes;
  for (const int label : order)
    axes.push_back(place(term.labels, label));
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!(axes[i] == SymInt(static_cast<int64_t>(i)))) {
      return call.emit("permute", {term.value}, {{"dims", axes}});
    }
  }
  return term.value;
}

// A label that occurs twice in one term means the diagonal of its dimensions.
void take_diagonals(Call& call, Term& term) {
  for (size_t i = 0; i < term.labels.size(); ++i) {
    for (size_t k = i + 1; k < term.labels.size(); ++k) {
      if (term.labels[i] != term.labels[k]) continue;
      const int label = term.labels[i];
      term.value = call.emit(
          "diagonal", {term.value},
          {{"dim1", SymInt(static_cast<int64_t>(i))}, {"dim2", SymInt(static_cast<int64_t>(k))}});
      term.labels.erase(term.labels.begin() + static_cast<ptrdiff_t>(k));
      term.labels.erase(term.labels.begin() + static_cast<ptrdiff_t>(i));
      term.labels.push_back(label);
      i = static_cast<size_t>(-1);  // Again from the first: positions have moved.
      break;
    }
  }
}

void sum_out(Call& call, Term& term, const std::set<int>& keep) {
  SymDims axes;
  Labels left;
  for (size_t i = 0; i < term.labels.size(); ++i) {
    if (keep.count(term.labels[i]) != 0) {
      left.push_back(term.labels[i]);
    } else {
      axes.push_back(static_cast<int64_t>(i));
    }
  }
  if (!axes.empty()) term.value = call.emit("sum", {term.value}, {{"dims", axes}});
  term.labels = left;
}

struct Roles {
  Labels batch, inner, left, right;
};

Roles roles_of(const Term& a, const Term& b, const std::set<int>& keep) {
  Roles out;
  for (const int label : a.labels) {
    const bool is_shared = contains(b.labels, label);
    (is_shared ? keep.count(label) != 0 ? out.batch : out.inner : out.left).push_back(label);
  }
  for (const int label : b.labels) {
    if (!contains(a.labels, label)) out.right.push_back(label);
  }
  return out;
}

SymDims sizes_of(const Term& term, const Labels& labels) {
  SymDims out;
  for (const int label : labels) {
    out.push_back(term.value->dims()[static_cast<size_t>(place(term.labels, label))]);
  }
  return out;
}

Labels joined(std::initializer_list<const Labels*> parts) {
  Labels out;
  for (const Labels* part : parts)
    out.insert(out.end(), part->begin(), part->end());
  return out;
}

// Operand as [batch.., rows, columns], rows and columns merged of several dimensions.
ir::Value* as_matrix(Call& call, const Term& term, const Labels& batch, const Labels& rows,
                     const Labels& columns) {
  SymDims dims = sizes_of(term, batch);
  dims.push_back(numel(sizes_of(term, rows)));
  dims.push_back(numel(sizes_of(term, columns)));
  return call.reshape(permuted(call, term, joined({&batch, &rows, &columns})), dims);
}

Term contract(Call& call, Term a, Term b, const std::set<int>& keep) {
  std::set<int> wanted = keep;
  wanted.insert(b.labels.begin(), b.labels.end());
  sum_out(call, a, wanted);
  wanted = keep;
  wanted.insert(a.labels.begin(), a.labels.end());
  sum_out(call, b, wanted);
  const Roles roles = roles_of(a, b, keep);
  for (const int label : roles.inner) {
    if (!(sizes_of(a, {label}) == sizes_of(b, {label}))) {
      call.unsupported("a sum over a dimension that broadcasts");
    }
  }
  ir::Value* x = as_matrix(call, a, roles.batch, roles.left, roles.inner);
  ir::Value* y = as_matrix(call, b, roles.batch, roles.inner, roles.right);
  // Without a sum, [.., l, 1] times [.., 1, r] is a plain product.
  ir::Value* product = call.emit(roles.inner.empty() ? "mul" : "matmul", {x, y});
  SymDims dims(product->dims().begin(), product->dims().end() - 2);
  for (const SymInt& size : sizes_of(a, roles.left))
    dims.push_back(size);
  for (const SymInt& size : sizes_of(b, roles.right))
    dims.push_back(size);
  return {call.reshape(product, dims), joined({&roles.batch, &roles.left, &roles.right})};
}

struct Equation {
  std::vector<std::string> terms;
  std::optional<std::string> output;
};

Equation split(std::string_view text) {
  Equation out;
  const size_t arrow = text.find("->");
  if (arrow != std::string_view::npos) out.output = std::string(text.substr(arrow + 2));
  std::string_view terms = text.substr(0, arrow);
  while (true) {
    const size_t comma = terms.find(',');
    out.terms.emplace_back(terms.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    terms = terms.substr(comma + 1);
  }
}

// Without "->": the ellipsis, then the letters that occur once, in alphabetical order.
Labels implied_output(const std::vector<Term>& terms, int hidden) {
  std::map<int, int> counts;
  for (const Term& term : terms) {
    for (const int label : term.labels)
      ++counts[label];
  }
  Labels out;
  for (int k = hidden; k-- > 0;)
    out.push_back(kEllipsis + k);
  for (const auto& [label, count] : counts) {
    if (label < kEllipsis && count == 1) out.push_back(label);
  }
  return out;
}

void einsum(Call& call) {
  const Equation equation = split(call.text("equation"));
  const std::vector<ir::Value*> operands = call.tensors("tensors");
  if (operands.empty() || operands.size() != equation.terms.size()) {
    call.unsupported("of ", operands.size(), " operands");
  }
  std::vector<Term> terms;
  int hidden = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    const std::string& text = equation.terms[i];
    const int rank = static_cast<int>(operands[i]->dims().size());
    const int own = text.find("...") == std::string::npos ? 0 : rank - count_letters(text);
    Term term{operands[i], read_labels(call, text, std::max(own, 0))};
    if (static_cast<int>(term.labels.size()) != rank) call.unsupported("the equation '", text, "'");
    hidden = std::max(hidden, own);
    take_diagonals(call, term);
    terms.push_back(std::move(term));
  }
  const Labels output =
      equation.output ? read_labels(call, *equation.output, hidden) : implied_output(terms, hidden);
  Term result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    std::set<int> keep(output.begin(), output.end());
    for (size_t k = i + 1; k < terms.size(); ++k) {
      keep.insert(terms[k].labels.begin(), terms[k].labels.end());
    }
    result = contract(call, std::move(result), terms[i], keep);
  }
  sum_out(call, result, std::set<int>(output.begin(), output.end()));
  if (result.labels.size() != output.size()) call.unsupported("an output label that is no input's");
  call.result(permuted(call, result, output));
}

constexpr AtenOp kOps[] = {
    {"einsum(equation, tensors, path=None)", einsum},
};

}  // namespace

extern const AtenTable k_einsum;
const AtenTable k_einsum = kOps;

}  // namespace regraft::lowering::aten
