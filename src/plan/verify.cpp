#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/fail.h"
#include "plan/layout.h"
#include "plan/plan.h"

namespace regraft::plan {
namespace {

enum class Program { Weight, Shape, Compute };

constexpr std::string_view program_name(Program program) {
  return program == Program::Weight ? "weight" : program == Program::Shape ? "shape" : "compute";
}

bool may_read(Program program, StorageKind kind) {
  switch (program) {
    case Program::Weight:
      return kind == StorageKind::Parameter || kind == StorageKind::Weight;
    case Program::Shape:
      return kind == StorageKind::Constant || kind == StorageKind::Shape;
    case Program::Compute:
      return kind != StorageKind::Parameter && kind != StorageKind::Weight;
  }
  return false;
}

bool may_write(Program program, StorageKind kind) {
  switch (program) {
    case Program::Weight:
      return kind == StorageKind::Weight;
    case Program::Shape:
      return kind == StorageKind::Shape;
    case Program::Compute:
      return kind == StorageKind::Compute || kind == StorageKind::Output;
  }
  return false;
}

// A storage whose size may not depend on the shapes of a run.
bool is_static(StorageKind kind) {
  return kind == StorageKind::Parameter || kind == StorageKind::Constant ||
         kind == StorageKind::Weight;
}

class Verifier {
 public:
  explicit Verifier(const Plan& plan) : plan_(plan), written_(plan.storages.size(), false) {}

  void run() {
    if (plan_.backend.empty()) fail("plan", "names no backend");
    check_symbols();
    check_guards();
    check_storages();
    for (size_t i = 0; i < plan_.buffers.size(); ++i)
      check_buffer(i);
    check_ports();
    check_parameters();
    check_constants();
    check_steps(Program::Weight, plan_.weight_steps);
    for (const Constant& constant : plan_.constants) {
      want_written(constant.source, "constant " + constant.name);
    }
    check_steps(Program::Shape, plan_.shape_steps);
    check_steps(Program::Compute, plan_.compute_steps);
    for (const Port& port : plan_.outputs)
      want_written(port.buffer, "output " + port.name);
  }

 private:
  template <typename... Parts>
  [[noreturn]] static void fail(std::string_view where, const Parts&... parts) {
    base::fail("plan", ErrorCode::Corrupt, where, ": ", parts...);
  }

  void check_symbols() {
    for (const Symbol& symbol : plan_.symbols) {
      const std::string where = "symbol '" + symbol.name + "'";
      const bool is_word = !symbol.name.empty() && symbol.name.size() <= 128 &&
                           std::all_of(symbol.name.begin(), symbol.name.end(), [](char c) {
                             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                    (c >= '0' && c <= '9') || c == '_';
                           });
      if (!is_word || (symbol.name[0] >= '0' && symbol.name[0] <= '9')) fail(where, "not a name");
      if (!symbols_.insert(symbol.name).second) fail(where, "declared twice");
      if (symbol.min < 0 || symbol.max < symbol.min) {
        fail(where, "range ", symbol.min, "..", symbol.max);
      }
      if (symbol.optimum != 0 && (symbol.optimum < symbol.min || symbol.optimum > symbol.max)) {
        fail(where, "optimum ", symbol.optimum, " outside of its range");
      }
    }
  }

  void check_guards() {
    for (const SizeGuard& guard : plan_.guards) {
      const std::string where = "guard '" + guard.str() + "'";
      check_known(guard.left, where);
      check_known(guard.right, where);
    }
  }

  void check_size(const SymInt& size, bool constant, std::string_view where) const {
    if (size.is_constant()) {
      if (size.value() < 0) fail(where, "negative size ", size.str());
      return;
    }
    if (constant) fail(where, "want a constant size, have ", size.str());
    check_known(size, where);
  }

  void check_known(const SymInt& size, std::string_view where) const {
    std::set<std::string> used;
    size.collect_symbols(used);
    for (const std::string& name : used) {
      if (!symbols_.contains(name)) fail(where, "unknown symbol '", name, "'");
    }
  }

  void check_storages() {
    for (size_t i = 0; i < plan_.storages.size(); ++i) {
      const Storage& storage = plan_.storages[i];
      const std::string where = base::cat("storage ", i);
      size_t count = 0;
      switch (storage.kind) {
        case StorageKind::Input:
          count = plan_.inputs.size();
          break;
        case StorageKind::Output:
          count = plan_.outputs.size();
          break;
        case StorageKind::Parameter:
          count = plan_.parameters.size();
          break;
        case StorageKind::Constant:
          count = plan_.constants.size();
          break;
        case StorageKind::Weight:
        case StorageKind::Shape:
        case StorageKind::Compute:
          break;
        default:
          fail(where, "unknown kind ", static_cast<int>(storage.kind));
      }
      check_size(storage.bytes, is_static(storage.kind), where);
      const bool indexed = storage.kind <= StorageKind::Constant;
      if (!indexed) continue;
      if (storage.index < 0 || static_cast<size_t>(storage.index) >= count) {
        fail(where, "index ", storage.index, " outside of ", count);
      }
      if (!owned_.insert({storage.kind, storage.index}).second) {
        fail(where, "a second storage for index ", storage.index);
      }
      written_[i] = storage.kind != StorageKind::Output;
    }
  }

  void check_buffer(size_t i) const {
    const Buffer& buffer = plan_.buffers[i];
    const std::string where = base::cat("buffer ", i, " (", buffer.name, ")");
    if (buffer.storage < 0 || static_cast<size_t>(buffer.storage) >= plan_.storages.size()) {
      fail(where, "storage ", buffer.storage, " outside of ", plan_.storages.size());
    }
    const Storage& storage = plan_.storages[buffer.storage];
    if (static_cast<int>(buffer.type.dtype) >= kDTypeCount) fail(where, "unknown dtype");
    if (buffer.strides.size() != buffer.type.dims.size()) {
      fail(where, "want ", buffer.type.dims.size(), " strides, have ", buffer.strides.size());
    }
    const bool constant = is_static(storage.kind);
    for (const SymInt& size : buffer.type.dims)
      check_size(size, constant, where);
    for (const SymInt& stride : buffer.strides)
      check_size(stride, constant, where);
    check_size(buffer.offset, constant, where);
    if (const auto problem = try_find_overrun(buffer, storage)) fail(where, *problem);
  }

  // The buffer is the whole of its storage, row-major.
  void want_whole(int32_t index, StorageKind kind, size_t owner, const std::string& where) const {
    want_buffer(index, where);
    const Buffer& buffer = plan_.buffers[index];
    const Storage& storage = plan_.storages[buffer.storage];
    if (storage.kind != kind || storage.index != static_cast<int32_t>(owner)) {
      fail(where, "buffer ", index, " is not its own storage");
    }
    if (!is_whole(buffer, storage)) fail(where, "buffer ", index, " is not all of its storage");
  }

  void want_buffer(int32_t index, const std::string& where) const {
    if (index < 0 || static_cast<size_t>(index) >= plan_.buffers.size()) {
      fail(where, "buffer ", index, " outside of ", plan_.buffers.size());
    }
  }

  void check_ports() const {
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      want_whole(plan_.inputs[i].buffer, StorageKind::Input, i, "input " + plan_.inputs[i].name);
    }
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      const Port& port = plan_.outputs[i];
      const std::string where = "output " + port.name;
      want_buffer(port.buffer, where);
      const StorageKind kind = plan_.storage_of(port.buffer).kind;
      if (kind == StorageKind::Parameter || kind == StorageKind::Weight) {
        fail(where, "lies in the weight program; want a constant");
      }
      if (owned_.contains({StorageKind::Output, static_cast<int32_t>(i)})) {
        want_whole(port.buffer, StorageKind::Output, i, where);
      }
    }
  }

  void check_parameters() const {
    std::set<std::string_view> names;
    for (size_t i = 0; i < plan_.parameters.size(); ++i) {
      const Parameter& parameter = plan_.parameters[i];
      const std::string where = "parameter " + parameter.name;
      if (!names.insert(parameter.name).second) fail(where, "named twice");
      for (const std::string& alias : parameter.aliases) {
        if (!names.insert(alias).second) fail(where, "alias '", alias, "' named twice");
      }
      want_whole(parameter.buffer, StorageKind::Parameter, i, where);
      const DType dtype = plan_.buffers[parameter.buffer].type.dtype;
      if (parameter.index_bound < -1) fail(where, "index bound ", parameter.index_bound);
      if (parameter.index_bound >= 0 && !is_integral(dtype)) {
        fail(where, "index bound on a parameter of dtype ", name(dtype));
      }
    }
  }

  void check_constants() const {
    std::set<std::string_view> names;
    for (size_t i = 0; i < plan_.constants.size(); ++i) {
      const Constant& constant = plan_.constants[i];
      const std::string where = "constant " + constant.name;
      if (!names.insert(constant.name).second) fail(where, "named twice");
      want_whole(constant.buffer, StorageKind::Constant, i, where);
      want_buffer(constant.source, where);
      const StorageKind kind = plan_.storage_of(constant.source).kind;
      if (kind != StorageKind::Parameter && kind != StorageKind::Weight) {
        fail(where, "its source is not part of the weight program");
      }
      if (plan_.buffers[constant.source].type.dims != plan_.buffers[constant.buffer].type.dims) {
        fail(where, "its source has other dims");
      }
    }
  }

  void want_written(int32_t buffer, const std::string& where) const {
    if (!written_[plan_.buffers[buffer].storage]) {
      fail(where, "buffer ", buffer, " (", plan_.buffers[buffer].name, ") is never computed");
    }
  }

  void check_steps(Program program, const std::vector<Step>& steps) {
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string where =
          base::cat(program_name(program), " step ", i, " (", steps[i].kernel, ")");
      check_step(program, steps[i], where);
      for (const int32_t output : steps[i].outputs) {
        written_[plan_.buffers[output].storage] = true;
      }
    }
  }

  void check_step(Program program, const Step& step, const std::string& where) const {
    const size_t dot = step.kernel.find('.');
    if (dot == 0 || dot == std::string::npos || dot + 1 == step.kernel.size()) {
      fail(where, "not a kernel name");
    }
    if (step.outputs.empty()) fail(where, "has no outputs");
    for (const int32_t input : step.inputs) {
      if (input == -1) continue;
      want_buffer(input, where);
      if (!may_read(program, plan_.storage_of(input).kind)) {
        fail(where, "may not read buffer ", input, " (", plan_.buffers[input].name, ")");
      }
      want_written(input, where);
    }
    for (size_t k = 0; k < step.outputs.size(); ++k)
      check_output(program, step, k, where);
    for (const auto& [key, value] : step.attributes.entries()) {
      check_attribute(value, program == Program::Weight, where + " attribute " + key);
    }
  }

  void check_output(Program program, const Step& step, size_t k, const std::string& where) const {
    const int32_t output = step.outputs[k];
    want_buffer(output, where);
    if (!may_write(program, plan_.storage_of(output).kind)) {
      fail(where, "may not write buffer ", output, " (", plan_.buffers[output].name, ")");
    }
    for (size_t j = 0; j < step.inputs.size(); ++j) {
      if (step.inputs[j] == -1) continue;
      if (plan_.buffers[step.inputs[j]].storage != plan_.buffers[output].storage) continue;
      if (!(step.in_place && k == 0 && j == 0)) {
        fail(where, "writes the storage of its input ", j);
      }
    }
  }

  void check_attribute(const Attribute& value, bool constant, std::string_view where) const {
    const auto check = [&](const SymInt& size) {
      if (constant && !size.is_constant()) fail(where, "depends on ", size.str());
      check_known(size, where);
    };
    if (const auto* size = std::get_if<SymInt>(&value)) check(*size);
    if (const auto* sizes = std::get_if<SymDims>(&value)) {
      for (const SymInt& size : *sizes)
        check(size);
    }
    const auto* dtype = std::get_if<DType>(&value);
    if (dtype != nullptr && static_cast<int>(*dtype) >= kDTypeCount) fail(where, "unknown dtype");
  }

  const Plan& plan_;
  std::set<std::string> symbols_;
  std::set<std::pair<StorageKind, int32_t>> owned_;
  std::vector<bool> written_;  // By storage: has a value at this point.
};

}  // namespace

void verify(const Plan& plan) { Verifier(plan).run(); }

}  // namespace regraft::plan
