#include <algorithm>
#include <charconv>
#include <limits>
#include <set>
#include <utility>

#include "ir/lexer.h"
#include "ir/text.h"

namespace regraft::ir {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text), graph_(std::make_unique<Graph>()) {}

  // What the parts the graph is made of refuse is an error of the text, here.
  std::unique_ptr<Graph> parse() {
    try {
      return graph();
    } catch (const Error& error) {
      if (error.stage() == "ir" || error.code() == ErrorCode::Internal) throw;
      lexer_.fail(error.what());
    }
  }

 private:
  std::unique_ptr<Graph> graph() {
    if (lexer_.take("symbols")) symbols();
    if (lexer_.take("guards")) guards();
    if (lexer_.take("parameters")) parameters();
    if (lexer_.take("weights")) region(Region::Weight);
    if (lexer_.take("shapes")) region(Region::Shape);
    lexer_.expect("graph");
    inputs();
    lexer_.expect("{");
    region_ = Region::Compute;
    while (!lexer_.take("return"))
      statement();
    returns();
    lexer_.expect("}");
    if (!lexer_.at_end()) lexer_.fail("text after the graph");
    return std::move(graph_);
  }

  int64_t integer() {
    const std::string_view text = lexer_.literal();
    if (text == "inf") return std::numeric_limits<int64_t>::max();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
      lexer_.fail("not an integer: ", text);
    }
    return value;
  }

  void symbols() {
    lexer_.expect("{");
    while (!lexer_.take("}")) {
      plan::Symbol symbol;
      symbol.name = lexer_.name();
      lexer_.expect("in");
      lexer_.expect("[");
      symbol.min = integer();
      lexer_.expect(",");
      symbol.max = integer();
      lexer_.expect("]");
      if (lexer_.take("at")) symbol.optimum = integer();
      if (symbol.min < 0 || symbol.max < symbol.min) lexer_.fail("empty range of ", symbol.name);
      for (const plan::Symbol& other : graph_->symbols()) {
        if (other.name == symbol.name) lexer_.fail("two symbols named ", symbol.name);
      }
      graph_->set_symbol(std::move(symbol));
      lexer_.take(",");
    }
  }

  void guards() {
    lexer_.expect("{");
    while (!lexer_.take("}")) {
      const std::string_view left = lexer_.literal();
      const auto relation = [&] {
        using Relation = SizeGuard::Relation;
        for (const Relation candidate :
             {Relation::Equal, Relation::NotEqual, Relation::LessEqual, Relation::Less}) {
          if (lexer_.take(text_of(candidate))) return candidate;
        }
        lexer_.fail("want ==, !=, < or <=");
      }();
      graph_->add_guard({SymInt::parse(left), relation, SymInt::parse(lexer_.literal())});
      lexer_.take(",");
    }
  }

  TensorType type() {
    // Sizes may hold commas inside max(a,b), so the literal is taken whole: "f32[s0,max(a,b)]".
    const std::string_view text = lexer_.literal();
    const size_t bracket = text.find('[');
    if (bracket == std::string_view::npos || text.back() != ']') {
      lexer_.fail("not a tensor type: ", text);
    }
    const auto dtype = try_parse_dtype(text.substr(0, bracket));
    if (!dtype) lexer_.fail("unknown dtype: ", text.substr(0, bracket));
    return {*dtype, sizes(text.substr(bracket + 1, text.size() - bracket - 2))};
  }

  // Splits at top-level commas.
  static std::vector<std::string_view> split(std::string_view text) {
    std::vector<std::string_view> out;
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
      if (i == text.size() || (text[i] == ',' && depth == 0)) {
        if (i > begin) out.push_back(text.substr(begin, i - begin));
        begin = i + 1;
      } else if (text[i] == '(') {
        ++depth;
      } else if (text[i] == ')') {
        --depth;
      }
    }
    return out;
  }

  SymDims sizes(std::string_view text) {
    SymDims out;
    for (const std::string_view part : split(text))
      out.push_back(SymInt::parse(part));
    return out;
  }

  void parameters() {
    struct Declared {
      TensorType type;
      std::vector<std::string> aliases;
    };
    std::vector<std::pair<std::string, Declared>> declared;
    std::set<std::string> names;
    lexer_.expect("{");
    while (!lexer_.take("}")) {
      lexer_.expect("@");
      std::string name = lexer_.name();
      if (!names.insert(name).second) lexer_.fail("two parameters named '", name, "'");
      lexer_.expect(":");
      TensorType parameter_type = type();
      if (!lexer_.take("=")) {
        declared.push_back({std::move(name), {std::move(parameter_type), {}}});
        continue;
      }
      lexer_.expect("@");
      const std::string of = lexer_.name();
      const auto at = std::find_if(declared.begin(), declared.end(),
                                   [&](const auto& entry) { return entry.first == of; });
      if (at == declared.end()) lexer_.fail("@", name, " is an alias of nothing: @", of);
      if (!(at->second.type == parameter_type)) {
        lexer_.fail("@", name, ": want the type of @", of, ", ", at->second.type.str());
      }
      at->second.aliases.push_back(std::move(name));
    }
    for (auto& [name, parameter] : declared) {
      graph_->add_parameter(name, std::move(parameter.type), std::move(parameter.aliases));
    }
  }

  void inputs() {
    lexer_.expect("(");
    while (!lexer_.take(")")) {
      lexer_.expect("%");
      const std::string name = lexer_.name();
      lexer_.expect(":");
      add_value(name, graph_->add_input(name, type()));
      lexer_.take(",");
    }
  }

  void region(Region region) {
    lexer_.expect("{");
    region_ = region;
    while (!lexer_.take("}"))
      statement();
  }

  void add_value(const std::string& name, Value* value) {
    if (!values_.emplace(name, value).second) lexer_.fail("'", name, "' is defined twice");
  }

  struct Result {
    std::string name;
    std::optional<TensorType> type;
  };

  void statement() {
    std::vector<Result> results;
    do {
      if (!lexer_.take("%")) lexer_.expect("$");
      Result result{lexer_.name(), {}};
      if (lexer_.take(":")) result.type = type();
      results.push_back(std::move(result));
    } while (lexer_.take(","));
    lexer_.expect("=");
    Node* node = call(&results);
    if (node->outputs().size() != results.size()) {
      lexer_.fail(node->op().name, " gives ", node->outputs().size(), " results, not ",
                  results.size());
    }
    // Out of the way first: one result may be called as another is now.
    for (Value* value : node->outputs())
      graph_->rename(value, "result.of.this.statement");
    for (size_t i = 0; i < results.size(); ++i) {
      Value* value = node->output(i);
      graph_->rename(value, results[i].name);
      add_value(results[i].name, value);
      if (results[i].type && !(*results[i].type == value->type())) {
        lexer_.fail("'", results[i].name, "' is ", value->type().str(), ", not ",
                    results[i].type->str());
      }
    }
  }

  struct Operand {
    Value* value = nullptr;
    std::optional<Attribute> literal;
  };

  Operand operand() {
    if (lexer_.take("none")) return {};
    if (lexer_.take("@")) {
      const std::string name = lexer_.name();
      Value* value = graph_->find_parameter(name);
      if (value == nullptr) lexer_.fail("no parameter '", name, "'");
      return {value, {}};
    }
    if (lexer_.take("%") || lexer_.take("$")) {
      const std::string name = lexer_.name();
      const auto found = values_.find(name);
      if (found == values_.end()) lexer_.fail("'", name, "' is not defined before its use");
      return {found->second, {}};
    }
    const Lexer saved = lexer_;
    const char first = lexer_.peek();
    if ((first >= 'a' && first <= 'z') || first == '_') {
      const std::string word = lexer_.name();
      if (ops::find_op(word) != nullptr && lexer_.peek() == '(') {
        lexer_ = saved;
        return {call(nullptr)->output(), {}};
      }
      lexer_ = saved;
    }
    return {nullptr, attribute()};
  }

  Node* call(const std::vector<Result>* results) {
    if (++depth_ > 64) lexer_.fail("calls nest too deeply");
    const std::string op_name = lexer_.name();
    const ops::Op* op = ops::find_op(op_name);
    std::vector<Operand> operands;
    lexer_.expect("(");
    while (!lexer_.take(")")) {
      operands.push_back(operand());
      if (!lexer_.take(",") && lexer_.peek() != ')') lexer_.fail("want ',' or ')'");
    }
    Attributes attributes;
    if (lexer_.take("{")) attribute_list(attributes);
    --depth_;
    Node* node = op != nullptr ? add(*op, operands, std::move(attributes))
                               : add_opaque(op_name, operands, std::move(attributes), results);
    node->set_region(region_);
    return node;
  }

  Node* add(const ops::Op& op, const std::vector<Operand>& operands, Attributes attributes) {
    const size_t fixed = op.schema.tensor_count() - (op.schema.has_list() ? 1 : 0);
    if (!op.schema.has_list() && operands.size() > fixed) {
      lexer_.fail(op.name, " takes ", fixed, " operands, not ", operands.size());
    }
    std::vector<Value*> inputs(op.schema.has_list() ? std::max(operands.size(), fixed) : fixed);
    for (size_t i = 0; i < operands.size(); ++i) {
      inputs[i] = operands[i].value;
      if (operands[i].literal) {
        attributes.set(scalar_name(op, i, operands.size()), *operands[i].literal);
      }
    }
    return graph_->add(op.name, inputs, std::move(attributes));
  }

  // Which Scalar attribute a literal in the place of input `i` sets.
  std::string scalar_name(const ops::Op& op, size_t i, size_t input_count) {
    for (const ops::Argument& argument : op.schema.arguments) {
      if (!argument.is_tensor() || argument.type == ops::ArgumentType::TensorList) continue;
      if (op.schema.input_index(argument.name, input_count) != i) continue;
      if (op.schema.find(argument.name + "_scalar") != nullptr) return argument.name + "_scalar";
      if (op.schema.find("scalar") != nullptr && (argument.name == "x" || argument.name == "y")) {
        return "scalar";
      }
    }
    lexer_.fail(op.name, ": operand ", i, " must be a tensor");
  }

  Node* add_opaque(const std::string& name, const std::vector<Operand>& operands,
                   Attributes attributes, const std::vector<Result>* results) {
    std::vector<TensorType> types;
    if (results == nullptr) lexer_.fail("unknown op '", name, "' cannot be nested");
    for (const Result& result : *results) {
      if (!result.type) lexer_.fail("results of the unknown op '", name, "' need types");
      types.push_back(*result.type);
    }
    std::vector<Value*> inputs;
    for (const Operand& operand : operands) {
      if (operand.literal) lexer_.fail("operands of the unknown op '", name, "' must be tensors");
      inputs.push_back(operand.value);
    }
    return graph_->add_opaque(name, inputs, std::move(attributes), std::move(types));
  }

  void attribute_list(Attributes& attributes) {
    while (!lexer_.take("}")) {
      const std::string name = lexer_.name();
      lexer_.expect("=");
      attributes.set(name, attribute());
      if (!lexer_.take(",") && lexer_.peek() != '}') lexer_.fail("want ',' or '}'");
    }
  }

  static std::optional<double> try_float(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    if (text.find_first_of(".en") == std::string_view::npos) return std::nullopt;
    return value;
  }

  Attribute attribute() {
    if (lexer_.peek() == '"') return lexer_.string();
    const std::string_view text = lexer_.literal();
    if (text == "none") return std::monostate{};
    if (text == "true" || text == "false") return text == "true";
    if (const auto dtype = try_parse_dtype(text)) return *dtype;
    if (text.front() == '[') return list(text);
    if (const auto number = try_float(text)) return *number;
    return SymInt::parse(text);
  }

  Attribute list(std::string_view text) {
    if (text.size() < 2 || text.back() != ']') lexer_.fail("list without end: ", text);
    const std::vector<std::string_view> parts = split(text.substr(1, text.size() - 2));
    std::vector<double> numbers;
    for (const std::string_view part : parts) {
      if (const auto number = try_float(part)) numbers.push_back(*number);
    }
    if (numbers.empty()) return sizes(text.substr(1, text.size() - 2));
    if (numbers.size() != parts.size()) lexer_.fail("list of integers and floats: ", text);
    return numbers;
  }

  void returns() {
    while (lexer_.peek() != '}') {
      const Operand value = operand();
      if (value.value == nullptr) lexer_.fail("want a value to return");
      graph_->add_output(lexer_.take("as") ? lexer_.name() : value.value->name(), value.value);
      if (!lexer_.take(",") && lexer_.peek() != '}') lexer_.fail("want ',' or '}'");
    }
  }

  Lexer lexer_;
  std::unique_ptr<Graph> graph_;
  std::map<std::string, Value*, std::less<>> values_;
  Region region_ = Region::Compute;
  int depth_ = 0;
};

}  // namespace

std::unique_ptr<Graph> parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace regraft::ir
