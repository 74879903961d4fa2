#include "support/program_json.h"

#include <cstring>
#include <memory>

#include "base/fail.h"
#include "tensor/sym_int.h"

namespace regraft::test {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string object(std::string_view key, const std::string& value) {
  return "{" + quoted(key) + ": " + value + "}";
}

std::string array(const std::vector<std::string>& parts) {
  return "[" + base::join(parts, ", ") + "]";
}

// Splits at top-level commas and trims.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  int depth = 0;
  std::string part;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    if (c == '[' || c == '(') ++depth;
    if (c == ']' || c == ')') --depth;
    if (c == ',' && depth == 0) {
      const size_t begin = part.find_first_not_of(' ');
      if (begin != std::string::npos) {
        out.push_back(part.substr(begin, part.find_last_not_of(' ') - begin + 1));
      }
      part.clear();
    } else {
      part += c;
    }
  }
  return out;
}

int serialised(DType dtype) {
  switch (dtype) {
    case DType::U8:
      return 1;
    case DType::I8:
      return 2;
    case DType::I16:
      return 3;
    case DType::I32:
      return 4;
    case DType::I64:
      return 5;
    case DType::F16:
      return 6;
    case DType::F32:
      return 7;
    case DType::F64:
      return 8;
    case DType::C64:
      return 10;
    case DType::C128:
      return 11;
    case DType::Bool:
      return 12;
    case DType::BF16:
      return 13;
    case DType::F8E4M3FN:
      return 29;
    case DType::F8E5M2:
      return 30;
  }
  return 0;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("-0123456789") == std::string_view::npos;
}

// A symbol as sympy prints it; anything else goes through as it stands, in the plain form.
std::string size_json(std::string_view text) {
  if (is_number(text)) return object("as_int", std::string(text));
  const bool is_symbol = text.find_first_of("+-*/(") == std::string_view::npos;
  const std::string expression =
      is_symbol ? "Symbol('" + std::string(text) + "', positive=True, integer=True)"
                : std::string(text);
  return object("as_expr", "{\"expr_str\": " + quoted(expression) + ", \"hint\": null}");
}

struct Type {
  DType dtype;
  std::vector<std::string> sizes;
};

Type parse_type(std::string_view text) {
  const size_t bracket = text.find('[');
  const auto dtype = try_parse_dtype(text.substr(0, bracket));
  if (!dtype) base::fail("test", ErrorCode::InvalidArgument, "not a type: ", text);
  return {*dtype, split(text.substr(bracket + 1, text.size() - bracket - 2))};
}

std::string meta(const Type& type) {
  std::vector<std::string> sizes, strides;
  SymInt stride = 1;
  for (size_t i = type.sizes.size(); i-- > 0;) {
    sizes.insert(sizes.begin(), size_json(type.sizes[i]));
    strides.insert(strides.begin(), size_json(stride.str()));
    stride = stride * SymInt::parse(type.sizes[i]);
  }
  return base::cat("{\"dtype\": ", serialised(type.dtype), ", \"sizes\": ", array(sizes),
                   ", \"strides\": ", array(strides), ", \"requires_grad\": false, ",
                   "\"device\": {\"type\": \"cpu\", \"index\": null}, ",
                   "\"storage_offset\": {\"as_int\": 0}, \"layout\": 7}");
}

std::string tensor_reference(std::string_view name) {
  return object("as_tensor", object("name", quoted(name)));
}

std::string list_argument(std::string_view text) {
  const std::vector<std::string> parts = split(text.substr(1, text.size() - 2));
  std::vector<std::string> out;
  bool tensors = false, optional = false, symbols = false, floats = false;
  for (const std::string& part : parts) {
    tensors = tensors || part[0] == '%';
    symbols = symbols || part[0] == '#';
    optional = optional || part == "none";
    floats = floats || (part[0] != '%' && part[0] != '#' && !is_number(part) && part != "none");
  }
  for (const std::string& part : parts) {
    if (optional) {
      out.push_back(part == "none" ? object("as_none", "true") : tensor_reference(part.substr(1)));
    } else if (tensors) {
      out.push_back(object("name", quoted(part.substr(1))));
    } else if (symbols) {
      out.push_back(part[0] == '#' ? object("as_name", quoted(part.substr(1)))
                                   : object("as_int", part));
    } else {
      out.push_back(part);
    }
  }
  return object(optional  ? "as_optional_tensors"
                : tensors ? "as_tensors"
                : symbols ? "as_sym_ints"
                : floats  ? "as_floats"
                          : "as_ints",
                array(out));
}

// Owns the zeros that stand for parameters.
class Zeros final : public WeightSource {
 public:
  void add(const std::string& name, const Tensor& tensor) {
    names_.push_back(name);
    tensors_[name] = tensor;
  }
  std::vector<std::string> names() const override { return names_; }
  TensorView spec(std::string_view name) const override { return read(name).view; }
  SourceTensor read(std::string_view name) const override {
    return {tensors_.find(name)->second.view(), nullptr, true};
  }
  std::string description() const override { return "zeros"; }

 private:
  std::vector<std::string> names_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace

std::string ProgramJson::tensor(std::string_view name, std::string_view type) {
  tensors_.push_back(quoted(name) + ": " + meta(parse_type(type)));
  return tensor_reference(name);
}

ProgramJson& ProgramJson::input(std::string_view name, std::string_view type) {
  inputs_.push_back(tensor(name, type));
  input_specs_.push_back(object("user_input", object("arg", tensor_reference(name))));
  return *this;
}

ProgramJson& ProgramJson::parameter(std::string_view name, std::string_view fqn,
                                    std::string_view type) {
  inputs_.push_back(tensor(name, type));
  input_specs_.push_back(
      object("parameter", base::cat("{\"arg\": ", object("name", quoted(name)),
                                    ", \"parameter_name\": ", quoted(fqn), "}")));
  const Type parsed = parse_type(type);
  Owned owned{std::string(fqn), parsed.dtype, {}};
  for (const std::string& part : parsed.sizes)
    owned.dims.push_back(std::stoll(part));
  owned_.push_back(std::move(owned));
  return *this;
}

ProgramJson& ProgramJson::buffer(std::string_view name, std::string_view fqn, std::string_view type,
                                 bool persistent) {
  parameter(name, fqn, type);
  input_specs_.back() =
      object("buffer", base::cat("{\"arg\": ", object("name", quoted(name)),
                                 ", \"buffer_name\": ", quoted(fqn),
                                 ", \"persistent\": ", persistent ? "true" : "false", "}"));
  return *this;
}

std::string ProgramJson::argument(std::string_view text) const {
  if (text[0] == '%') return tensor_reference(text.substr(1));
  if (text[0] == '#') {
    return object("as_sym_int", object("as_name", quoted(text.substr(1))));
  }
  if (text[0] == '&') {
    return object("as_graph", base::cat("{\"name\": ", quoted(text.substr(1)), ", \"graph\": ",
                                        subgraphs_.find(text.substr(1))->second, "}"));
  }
  if (text[0] == '[') return list_argument(text);
  if (text[0] == '"') return object("as_string", std::string(text));
  if (text == "none") return object("as_none", "true");
  if (text == "true" || text == "false") return object("as_bool", std::string(text));
  if (text == "inf") return object("as_float", "\"Infinity\"");
  if (text == "-inf") return object("as_float", "\"-Infinity\"");
  if (text == "nan") return object("as_float", "\"NaN\"");
  if (is_number(text)) return object("as_int", std::string(text));
  if (const auto dtype = try_parse_dtype(text)) {
    return object("as_scalar_type", std::to_string(serialised(*dtype)));
  }
  return object("as_float", std::string(text));
}

ProgramJson& ProgramJson::node(std::string_view target, std::string_view arguments,
                               std::string_view results) {
  std::vector<std::string> inputs;
  for (const std::string& part : split(arguments)) {
    const size_t equals = part.find('=');
    const std::string name = equals == std::string::npos ? "" : part.substr(0, equals);
    const std::string value = equals == std::string::npos ? part : part.substr(equals + 1);
    inputs.push_back(
        base::cat("{\"name\": ", quoted(name), ", \"arg\": ", argument(value), ", \"kind\": 1}"));
  }
  const bool is_list = !results.empty() && results[0] == '[';
  std::vector<std::string> outputs, names;
  std::string first;
  for (const std::string& part : split(is_list ? results.substr(1, results.size() - 2) : results)) {
    const size_t colon = part.find(':');
    const std::string name = part.substr(0, colon);
    if (part[0] == '#') {
      outputs.push_back(object("as_sym_int", object("as_name", quoted(name.substr(1)))));
      first = name.substr(1);
      if (colon != std::string::npos) {
        numbers_.push_back(quoted(first) + ": " +
                           size_json(part.substr(part.find_first_not_of(' ', colon + 1))));
      }
      continue;
    }
    outputs.push_back(tensor(name, part.substr(part.find_first_not_of(' ', colon + 1))));
    names.push_back(object("name", quoted(name)));
    if (first.empty()) first = name;
  }
  if (is_list) outputs = {object("as_tensors", array(names))};
  const bool is_python = target.starts_with("_operator") || target.starts_with("math.") ||
                         target.starts_with("torch.");
  nodes_.push_back(
      base::cat("{\"target\": ", quoted((is_python ? "" : "torch.ops.") + std::string(target)),
                ", \"inputs\": ", array(inputs), ", \"outputs\": ", array(outputs),
                ", \"metadata\": ", metadata_, ", \"name\": ", quoted(first), "}"));
  return *this;
}

ProgramJson& ProgramJson::at(std::string_view module_path, std::string_view file, int line) {
  metadata_ = base::cat(
      "{\"nn_module_stack\": ", quoted(base::cat("root,,Model;key,", module_path, ",Layer")),
      ", \"stack_trace\": ",
      quoted(base::cat("  File \"/src/", file, "\", line ", line, ", in forward")), "}");
  return *this;
}

ProgramJson& ProgramJson::output(std::string_view name) {
  outputs_.push_back(tensor_reference(name));
  output_specs_.push_back(object("user_output", object("arg", tensor_reference(name))));
  return *this;
}

ProgramJson& ProgramJson::buffer_mutation(std::string_view name, std::string_view fqn) {
  outputs_.push_back(tensor_reference(name));
  output_specs_.push_back(
      object("buffer_mutation", base::cat("{\"arg\": ", object("name", quoted(name)),
                                          ", \"buffer_name\": ", quoted(fqn), "}")));
  return *this;
}

ProgramJson& ProgramJson::range(std::string_view symbol, int64_t min, int64_t max) {
  ranges_.push_back(
      base::cat(quoted(symbol), ": {\"min_val\": ", min, ", \"max_val\": ", max, "}"));
  return *this;
}

ProgramJson& ProgramJson::functional() {
  verifier_ = "ATEN";
  return *this;
}

ProgramJson& ProgramJson::with(std::string_view member) {
  members_.emplace_back(member);
  return *this;
}

ProgramJson& ProgramJson::subgraph(std::string_view name, const ProgramJson& inner) {
  subgraphs_[std::string(name)] = inner.graph();
  return *this;
}

std::string ProgramJson::graph() const {
  return base::cat("{\"inputs\": ", array(inputs_), ", \"outputs\": ", array(outputs_),
                   ", \"nodes\": ", array(nodes_), ", \"tensor_values\": {",
                   base::join(tensors_, ", "), "}, \"sym_int_values\": {",
                   base::join(numbers_, ", "), "}}");
}

std::string ProgramJson::str() const {
  std::string members;
  for (const std::string& member : members_)
    members += member + ", ";
  return base::cat("{", members, "\"graph_module\": {\"graph\": ", graph(),
                   ", \"signature\": {\"input_specs\": ", array(input_specs_),
                   ", \"output_specs\": ", array(output_specs_),
                   "}, \"module_call_graph\": []}, \"range_constraints\": {",
                   base::join(ranges_, ", "),
                   "}, \"schema_version\": {\"major\": 8, \"minor\": 20}, ", "\"verifiers\": [",
                   quoted(verifier_), "]}");
}

Program ProgramJson::program(const std::vector<std::vector<std::string>>& ties) const {
  auto zeros = std::make_shared<Zeros>();
  std::map<std::string, Tensor> shared;
  for (const Owned& owned : owned_) {
    Tensor tensor(owned.dtype, owned.dims);
    std::memset(tensor.mutable_view().mutable_data(), 0, tensor.view().bytes());
    for (const std::vector<std::string>& tie : ties) {
      for (const std::string& name : tie) {
        if (name != owned.fqn) continue;
        const auto [found, is_new] = shared.emplace(tie[0], tensor);
        if (!is_new) tensor = found->second;
      }
    }
    zeros->add(owned.fqn, tensor);
  }
  return Program::from_json(str(), zeros);
}

}  // namespace regraft::test
