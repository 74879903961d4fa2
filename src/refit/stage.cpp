#include "refit/stage.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <set>

#include "backends/to_host.h"
#include "refit/lora.h"

namespace regraft::refit {
namespace {

bool can_cast(DType from, DType to) {
  if (is_floating(from)) return is_floating(to);
  if (is_complex(from)) return is_complex(to);
  return !is_complex(to);  // From bool and integers to all but complex.
}

bool is_aligned(const void* data, size_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

// Elements are bit-equal.
bool same_bytes(backends::Device& device, const TensorView& a, const TensorView& b) {
  if (a.data == b.data && a.strides == b.strides) return true;
  if (!device.is_host()) {
    const Tensor x = backends::to_host(device, a), y = backends::to_host(device, b);
    return std::memcmp(x.view().data, y.view().data, a.bytes()) == 0;
  }
  if (a.is_contiguous() && b.is_contiguous()) {
    return a.bytes() == 0 || std::memcmp(a.data, b.data, a.bytes()) == 0;
  }
  const Tensor x = Tensor::copy_of(a), y = Tensor::copy_of(b);
  return std::memcmp(x.view().data, y.view().data, a.bytes()) == 0;
}

bool same_terms(const std::vector<LoraTerm>& a, const std::vector<LoraTerm>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.a.data == y.a.data && x.b.data == y.b.data && x.scale == y.scale &&
           x.transposed == y.transposed;
  });
}

// Plain memory that the source does not own.
bool is_callers(const SourceTensor& tensor) {
  return tensor.owner == nullptr && !tensor.stable && tensor.terms.empty();
}

class Stager {
 public:
  Stager(const engine::Core& core, const WeightSource& source, const RefitOptions& options,
         bool first, Problems& problems)
      : core_(core),
        source_(source),
        options_(options),
        first_(first),
        problems_(problems),
        memory_(core.device()),
        names_(core.plan().parameters.size()) {}

  Staged run() {
    match_names();
    staged_.tensors.resize(names_.size());
    for (size_t p = 0; p < names_.size(); ++p) {
      if (names_[p].empty()) {
        const bool known = parameter(p).optional && (!first_ || core_.initial_value(p));
        if (known && first_) {
          staged_.tensors[p] = core_.initial_value(p);
        } else if (!known && !options_.partial) {
          report_missing(p);
        }
        continue;
      }
      bool fits = true;
      for (const std::string& name : names_[p])
        fits = check_spec(p, name) && fits;
      if (fits) read(p);
    }
    staged_.readable.resize(names_.size());
    staged_.brought.resize(names_.size());
    for (size_t p = 0; p < names_.size(); ++p) {
      const std::optional<SourceTensor>& tensor = staged_.tensors[p];
      if (!tensor || !tensor->terms.empty()) continue;
      if (is_readable(core_, memory_, p, tensor->view)) {
        staged_.readable[p] = core_.parameter_spec(p);
        staged_.readable[p].data = tensor->view.data;
      } else {
        staged_.brought[p] = is_brought(p, tensor->view);
      }
    }
    return std::move(staged_);
  }

 private:
  const plan::Parameter& parameter(size_t p) const { return core_.plan().parameters[p]; }

  void match_names() {
    const auto& known = core_.image().unused_parameters;
    const std::set<std::string_view> ignored(known.begin(), known.end());
    for (const std::string& name : source_.names()) {
      const int32_t p = core_.find_parameter(name);
      if (p >= 0) {
        names_[p].push_back(name);
      } else if (ignored.contains(name) || options_.allow_unexpected) {
        staged_.unused.push_back(name);
      } else {
        unexpected_.push_back(name);
      }
    }
    if (unexpected_.empty()) return;
    std::vector<std::string> candidates;
    for (size_t p = 0; p < names_.size(); ++p) {
      if (names_[p].empty() || options_.partial) candidates.push_back(parameter(p).name);
    }
    for (const std::string& name : unexpected_) {
      const auto near = suggest(name, candidates);
      problems_.add(ErrorCode::Mismatch, name, ": the engine has no such parameter",
                    near ? " (nearest: " + *near + ")" : "");
    }
  }

  // Looking for near names is quadratic: not for each of thousands.
  std::optional<std::string> suggest(const std::string& name,
                                     const std::vector<std::string>& candidates) {
    constexpr int kMostSuggestions = 32;
    if (suggestions_++ >= kMostSuggestions) return std::nullopt;
    return base::nearest(name, candidates);
  }

  void report_missing(size_t p) {
    const auto near = suggest(parameter(p).name, unexpected_);
    problems_.add(ErrorCode::Mismatch, parameter(p).name, ": want ", core_.parameter_spec(p).spec(),
                  ", have nothing of that name in ", source_.description(),
                  near ? " (nearest: " + *near + ")" : "");
  }

  bool check_spec(size_t p, const std::string& name) {
    const TensorView& want = core_.parameter_spec(p);
    try {
      const TensorView have = source_.spec(name);
      const bool cast = options_.cast && can_cast(have.dtype, want.dtype);
      if (have.dims == want.dims && (have.dtype == want.dtype || cast)) return true;
      problems_.add(
          ErrorCode::Mismatch, name, ": want ", want.spec(), ", have ", have.spec(),
          have.dims == want.dims && can_cast(have.dtype, want.dtype) ? " (cast converts it)" : "");
    } catch (const Error& error) {
      problems_.add(error.code(), name, ": ", error.what());
    }
    return false;
  }

  void read(size_t p) {
    std::optional<SourceTensor>& first = staged_.tensors[p];
    std::string first_name;
    for (const std::string& name : names_[p]) {
      try {
        SourceTensor tensor = source_.read(name);
        if (!is_sound(tensor.view, source_.spec(name))) {
          problems_.add(ErrorCode::Corrupt, name, ": the source gives ", tensor.view.spec(),
                        " where it announced ", source_.spec(name).spec());
          continue;
        }
        if (!keep_terms(p, name, tensor)) continue;
        if (!first) {
          staged_.bytes += bytes_of(tensor);
          first = std::move(tensor);
          first_name = name;
        } else if (first->view.dtype != tensor.view.dtype ||
                   !same_bytes(core_.device(), first->view, tensor.view)) {
          problems_.add(ErrorCode::Mismatch, name, ": is the same tensor as ", first_name,
                        ", but the two have different values");
        } else if (!same_terms(first->terms, tensor.terms)) {
          problems_.add(ErrorCode::Mismatch, name, ": is the same tensor as ", first_name,
                        ", but the two have different adapters");
        } else if (first->view.data != tensor.view.data) {
          staged_.copies.push_back(name);
        }
      } catch (const Error& error) {
        problems_.add(error.code(), name, ": ", error.what());
      }
    }
  }

  // Leaves the terms that change something; false: some do not fit.
  bool keep_terms(size_t p, const std::string& name, SourceTensor& tensor) {
    bool fits = true;
    const TensorView& want = core_.parameter_spec(p);
    for (const LoraTerm& term : tensor.terms) {
      const auto problem = problem_of(want, term);
      if (!problem) continue;
      problems_.add(problem->code, name, ": ", problem->text);
      fits = false;
    }
    if (fits) std::erase_if(tensor.terms, [](const LoraTerm& term) { return !is_active(term); });
    return fits;
  }

  bool is_brought(size_t p, const TensorView& view) {
    return !core_.device().is_host() && view.count() > 0 && view.is_contiguous() &&
           view.dtype == core_.parameter_spec(p).dtype && !memory_.holds(view.data);
  }

  static uint64_t bytes_of(const SourceTensor& tensor) {
    uint64_t bytes = tensor.view.bytes();
    for (const LoraTerm& term : tensor.terms)
      bytes += term.a.bytes() + term.b.bytes();
    return bytes;
  }

  static bool is_sound(const TensorView& view, const TensorView& announced) {
    return view.dtype == announced.dtype && view.dims == announced.dims &&
           view.strides.size() == view.dims.size() &&
           std::all_of(view.strides.begin(), view.strides.end(),
                       [](int64_t s) { return s >= 0; }) &&
           (view.data != nullptr || view.count() == 0);
  }

  const engine::Core& core_;
  const WeightSource& source_;
  const RefitOptions& options_;
  const bool first_;
  Problems& problems_;
  backends::KnownMemory memory_;
  std::vector<std::vector<std::string>> names_;  // By parameter: its names in the source.
  std::vector<std::string> unexpected_;
  int suggestions_ = 0;
  Staged staged_;
};

}  // namespace

bool is_readable(const engine::Core& core, backends::KnownMemory& memory, size_t parameter,
                 const TensorView& view) {
  if (view.data == nullptr || view.dtype != core.parameter_spec(parameter).dtype ||
      !view.is_contiguous()) {
    return false;
  }
  if (core.device().is_host()) return is_aligned(view.data, item_size(view.dtype));
  constexpr size_t kOperandAlignment = 16;
  return is_aligned(view.data, kOperandAlignment) && memory.holds(view.data);
}

const Staged::Scope& Staged::scope_of(const engine::Core& core, bool has_base) const {
  if (scope_ && scope_->has_base == has_base) return *scope_;
  Scope scope;
  scope.has_base = has_base;
  for (const std::optional<SourceTensor>& tensor : tensors)
    scope.given.push_back(tensor.has_value());
  const engine::WeightProgram& program = core.weight_program();
  if (has_base) {
    const auto change = program.change_of(scope.given);
    scope.slots = change->slots;
    scope.reads = change->reads;
  } else {
    const size_t slots = core.slots().slots.size();
    scope.slots.assign(slots, true);
    scope.reads = program.reads(scope.slots, std::vector<bool>(slots, false));
  }
  return scope_.emplace(std::move(scope));
}

Staged::Names Staged::names(const engine::Core& core, const Scope& scope) const {
  if (next_names_) {
    Names names = std::move(*next_names_);
    next_names_.reset();
    return names;
  }
  const plan::Plan& plan = core.plan();
  Names names;
  const std::vector<bool> constants = core.constants_of(scope.slots);
  for (size_t c = 0; c < constants.size(); ++c) {
    if (constants[c]) {
      names.updated.push_back(plan.constants[c].name);
    } else {
      ++names.untouched;
    }
  }
  for (size_t p = 0; p < scope.given.size(); ++p) {
    if (scope.given[p]) names.parameters.push_back(plan.parameters[p].name);
  }
  return names;
}

void Staged::make_next_names(const engine::Core& core, const Scope& scope) const noexcept {
  try {
    next_names_ = names(core, scope);
  } catch (const std::bad_alloc&) {
    next_names_.reset();
  }
}

const Staged::Repetition* Staged::find_repetition(const std::vector<const void*>& places,
                                                  bool counts) const {
  const auto at = std::find_if(repetitions_.begin(), repetitions_.end(), [&](const auto& known) {
    return known.counts == counts && known.places == places;
  });
  return at == repetitions_.end() ? nullptr : &*at;
}

void Staged::remember(Repetition repetition) const {
  // Scratch and staging memory may lie elsewhere than the last time.
  std::erase_if(repetitions_, [&](const Repetition& known) {
    return known.counts == repetition.counts && known.places == repetition.places;
  });
  constexpr size_t kMost = 4;
  if (repetitions_.size() >= kMost) repetitions_.pop_back();
  repetitions_.insert(repetitions_.begin(), std::move(repetition));
}

bool Staged::is_of(const WeightSource& source, const RefitOptions& options) const {
  if (remembered_ == nullptr || partial_ != options.partial || cast_ != options.cast ||
      allow_unexpected_ != options.allow_unexpected) {
    return false;
  }
  const auto* memory = dynamic_cast<const sources::MemorySource*>(&source);
  const auto is_same = [](const auto& a, const auto& b) {
    const TensorView &x = a.second.view, &y = b.second.view;
    return x.data == y.data && x.dtype == y.dtype && x.dims == y.dims && x.strides == y.strides &&
           a.first == b.first && is_callers(b.second);
  };
  return memory != nullptr &&
         std::equal(remembered_->begin(), remembered_->end(), memory->tensors()->begin(),
                    memory->tensors()->end(), is_same);
}

void Staged::remember(const WeightSource& source, const RefitOptions& options) {
  const auto* memory = dynamic_cast<const sources::MemorySource*>(&source);
  // Tensors of one parameter in other memory had to have equal values.
  if (memory == nullptr || !copies.empty()) return;
  for (const auto& [name, tensor] : *memory->tensors()) {
    if (!is_callers(tensor)) return;
  }
  remembered_ = memory->tensors();
  partial_ = options.partial;
  cast_ = options.cast;
  allow_unexpected_ = options.allow_unexpected;
}

Staged stage(const engine::Core& core, const WeightSource& source, const RefitOptions& options,
             bool first, Problems& problems) {
  return Stager(core, source, options, first, problems).run();
}

}  // namespace regraft::refit
