#include "backends/cpu/run/pointwise_program.h"

#include <charconv>
#include <cmath>

#include "backends/cpu/run/pointwise_ops.h"
#include "base/fail.h"

namespace regraft::cpu {
namespace {

using Source = PointwiseProgram::Source;

class Parser {
 public:
  Parser(std::string_view text, std::span<const Lane> inputs) : text_(text), inputs_(inputs) {}

  PointwiseProgram parse() {
    const size_t arrow = text_.find("->");
    if (arrow == std::string_view::npos) fail();
    std::string_view body = text_.substr(0, arrow);
    while (!body.empty()) {
      const std::string_view line = body.substr(0, body.find(';'));
      body.remove_prefix(std::min(body.size(), line.size() + 1));
      if (line.find_first_not_of(' ') != std::string_view::npos) instruction(line);
    }
    std::string_view rest = text_.substr(arrow + 2);
    for (std::string_view word = take(rest); !word.empty(); word = take(rest)) {
      program_.results.push_back(source(word));
    }
    if (program_.results.empty()) fail();
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail() const {
    base::fail("backends", ErrorCode::Unsupported, "cpu.pointwise: not a program over ",
               inputs_.size(), " inputs: '", text_, "'");
  }

  static std::string_view take(std::string_view& rest) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(word.size());
    return word;
  }

  void instruction(std::string_view line) {
    PointwiseProgram::Instruction made;
    made.op = take(line);
    std::vector<Lane> lanes;
    for (std::string_view word = take(line); !word.empty(); word = take(line)) {
      made.sources.push_back(source(word));
      lanes.push_back(program_.lane(made.sources.back(), inputs_));
    }
    const auto wanted = tile_op_lanes(made.op, lanes);
    if (!wanted) fail();
    for (size_t i = 0; i < lanes.size(); ++i)
      made.sources[i] = as(made.sources[i], (*wanted)[i]);
    made.lane = wanted->back();
    add(std::move(made));
    names_.push_back(static_cast<int>(program_.instructions.size()) - 1);
  }

  // Appends; what calculated in one lane may give a result of another (comparisons).
  int add(PointwiseProgram::Instruction made) {
    made.result = tile_op(made.op, made.lane, Isa::Baseline).result;
    program_.instructions.push_back(std::move(made));
    return static_cast<int>(program_.instructions.size()) - 1;
  }

  // The source converted to `lane`: numbers at once, others by an instruction.
  Source as(Source from, Lane lane) {
    const Lane have = program_.lane(from, inputs_);
    if (have == lane) return from;
    if (from.kind == Source::Kind::Number) {
      program_.numbers.push_back({program_.numbers[static_cast<size_t>(from.index)].value, lane});
      return {Source::Kind::Number, static_cast<int>(program_.numbers.size()) - 1};
    }
    return {Source::Kind::Register,
            add({base::cat("cast:", name(lane_dtype(lane))), {from}, have, have})};
  }

  Source source(std::string_view word) {
    if (word[0] == 'i' && word.size() > 1 && word[1] >= '0' && word[1] <= '9') {
      const int index = number<int>(word.substr(1));
      if (index < 0 || index >= static_cast<int>(inputs_.size())) fail();
      return {Source::Kind::Input, index};
    }
    if (word[0] == 'r') {
      const int index = number<int>(word.substr(1));
      if (index < 0 || index >= static_cast<int>(names_.size())) fail();
      return {Source::Kind::Register, names_[static_cast<size_t>(index)]};
    }
    const bool is_integer = word.find_first_not_of("-0123456789") == std::string_view::npos;
    const Lane lane = word == "true" || word == "false" ? Lane::Bool
                      : is_integer                      ? Lane::I64
                                                        : Lane::F32;
    const double value = lane == Lane::Bool ? (word == "true" ? 1 : 0) : number<double>(word);
    program_.numbers.push_back({value, lane});
    return {Source::Kind::Number, static_cast<int>(program_.numbers.size()) - 1};
  }

  template <typename T>
  T number(std::string_view word) const {
    T value{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size()) fail();
    return value;
  }

  std::string_view text_;
  std::span<const Lane> inputs_;
  PointwiseProgram program_;
  std::vector<int> names_;  // Instruction of each rN: conversions come between.
};

}  // namespace

Lane lane_of(DType dtype) {
  if (dtype == DType::Bool) return Lane::Bool;
  return is_integral(dtype) ? Lane::I64 : Lane::F32;
}

size_t lane_size(Lane lane) { return lane == Lane::F32 ? 4 : lane == Lane::I64 ? 8 : 1; }

DType lane_dtype(Lane lane) {
  return lane == Lane::F32 ? DType::F32 : lane == Lane::I64 ? DType::I64 : DType::Bool;
}

PointwiseProgram PointwiseProgram::parse(std::string_view text, std::span<const Lane> inputs) {
  return Parser(text, inputs).parse();
}

Lane PointwiseProgram::lane(const Source& source, std::span<const Lane> inputs) const {
  const auto index = static_cast<size_t>(source.index);
  switch (source.kind) {
    case Source::Kind::Input:
      return inputs[index];
    case Source::Kind::Register:
      return instructions[index].result;
    case Source::Kind::Number:
      return numbers[index].lane;
  }
  return Lane::F32;
}

}  // namespace regraft::cpu
