#include "partitioning/size_inputs.h"

#include "base/fail.h"

namespace regraft::partitioning {
namespace {

using program::StatedSize;
using program::TensorMeta;

// The one unknown symbol that this size determines: it is a line in it, as plan::solve_symbols
// will want. Empty when it determines none.
std::string determined_by(const StatedSize& size, const std::set<std::string>& known) {
  if (!size || size->is_constant()) return "";
  std::set<std::string> symbols;
  size->collect_symbols(symbols);
  std::erase_if(symbols, [&](const std::string& symbol) { return known.contains(symbol); });
  if (symbols.size() != 1) return "";
  const std::string symbol = *symbols.begin();
  if (*size == SymInt::symbol(symbol)) return symbol;
  std::map<std::string, SymInt> at;
  for (const std::string& other : known)
    at.emplace(other, SymInt(7));
  std::int64_t values[3];
  for (int trial = 0; trial < 3; ++trial) {
    at.insert_or_assign(symbol, SymInt(trial));
    try {
      values[trial] = size->substitute(at).value();
    } catch (const Error&) {
      return "";  // A division by zero or an overflow at a trial value.
    }
  }
  const bool is_line = values[1] != values[0] && values[2] - values[1] == values[1] - values[0];
  return is_line ? symbol : "";
}

class Sizes {
 public:
  Sizes(const program::ExportedProgram& program, std::vector<SegmentInput>& inputs)
      : program_(program), inputs_(inputs) {}

  void want(const StatedSize& size) {
    if (size) size->collect_symbols(wanted_);
  }

  const TensorMeta* meta_of(const std::string& name) const {
    const auto found = program_.graph.tensors.find(name);
    return found == program_.graph.tensors.end() ? nullptr : &found->second;
  }

  void use(const std::string& name) {
    const TensorMeta* meta = meta_of(name);
    if (meta == nullptr) return;
    for (const StatedSize& size : meta->sizes)
      want(size);
    tensors_.push_back(meta);
  }

  // To the end: a size of two symbols tells one once the other is known.
  void solve() {
    for (bool found = true; found;) {
      found = false;
      for (const TensorMeta* meta : tensors_) {
        for (const StatedSize& size : meta->sizes) {
          const std::string symbol = determined_by(size, known_);
          if (!symbol.empty()) found = known_.insert(symbol).second || found;
        }
      }
    }
  }

  std::optional<std::string> unknown() const {
    for (const std::string& symbol : wanted_) {
      if (!known_.contains(symbol)) return symbol;
    }
    return std::nullopt;
  }

  bool bring(const std::string& symbol, const std::vector<std::string>& available) {
    for (const bool plain : {true, false}) {
      for (const std::string& name : available) {
        const TensorMeta* meta = meta_of(name);
        for (size_t d = 0; meta != nullptr && d < meta->sizes.size(); ++d) {
          const StatedSize& size = meta->sizes[d];
          if (plain && !(size && *size == SymInt::symbol(symbol))) continue;
          if (determined_by(size, known_) != symbol) continue;
          inputs_.push_back({name, static_cast<int>(d)});
          known_.insert(symbol);
          return true;
        }
      }
    }
    return false;
  }

 private:
  const program::ExportedProgram& program_;
  std::vector<SegmentInput>& inputs_;
  std::vector<const TensorMeta*> tensors_;
  std::set<std::string> wanted_, known_;
};

}  // namespace

std::optional<std::string> add_size_inputs(const program::ExportedProgram& program,
                                           const std::set<std::string>& numbers,
                                           const std::vector<std::string>& available,
                                           std::vector<SegmentInput>& inputs) {
  Sizes sizes(program, inputs);
  for (const SegmentInput& input : inputs)
    sizes.use(input.name);
  for (const std::string& number : numbers) {
    const auto found = program.graph.sizes.find(number);
    if (found != program.graph.sizes.end()) sizes.want(found->second);
  }
  for (sizes.solve(); const auto symbol = sizes.unknown(); sizes.solve()) {
    if (!sizes.bring(*symbol, available)) return symbol;
  }
  return std::nullopt;
}

}  // namespace regraft::partitioning
