#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/program.h"

namespace regraft::test {

// Writes exported programs by hand, in the JSON of torch.export.
//
//     ProgramJson json;
//     json.input("x", "f32[s0,4]").parameter("w", "lin.weight", "f32[8,4]");
//     json.node("aten.linear.default", "input=%x, weight=%w", "y: f32[s0,8]").output("y");
//
// Arguments: %tensor, [%a,%b], [%a,none] (optional tensors), #size (symbolic), [#size,2], numbers,
// true, none, "text", f32 (a dtype), [1,2], inf. Sizes of types are numbers, symbols or
// expressions that are written as they stand ("s0*2" becomes a sympy expression).
class ProgramJson {
 public:
  ProgramJson& input(std::string_view name, std::string_view type);
  ProgramJson& parameter(std::string_view name, std::string_view fqn, std::string_view type);
  ProgramJson& buffer(std::string_view name, std::string_view fqn, std::string_view type,
                      bool persistent = true);
  // `results`: "y: f32[2], z: i64[2]", "[y: f32[2], z: f32[2]]" for a list of tensors, "#n" or
  // "#n: s0" for a symbolic int, or "".
  ProgramJson& node(std::string_view target, std::string_view arguments, std::string_view results);
  // The next nodes come from there.
  ProgramJson& at(std::string_view module_path, std::string_view file, int line);
  ProgramJson& output(std::string_view name);
  ProgramJson& buffer_mutation(std::string_view name, std::string_view fqn);
  ProgramJson& range(std::string_view symbol, int64_t min, int64_t max);
  ProgramJson& functional();  // As run_decompositions writes it.
  // Inserts into the outermost object: "\"key\": value".
  ProgramJson& with(std::string_view member);
  // The graph alone, for an argument of a higher-order op: node(..., "&graph0") refers to it.
  std::string graph() const;
  ProgramJson& subgraph(std::string_view name, const ProgramJson& inner);

  std::string str() const;
  // The program, with zeros for every parameter and buffer; tensors of `ties` share memory.
  Program program(const std::vector<std::vector<std::string>>& ties = {}) const;

 private:
  std::string tensor(std::string_view name, std::string_view type);
  std::string argument(std::string_view text) const;

  struct Owned {
    std::string fqn;
    DType dtype;
    Dims dims;
  };
  std::vector<std::string> inputs_, input_specs_, outputs_, output_specs_, nodes_, tensors_,
      numbers_, ranges_, members_;
  std::vector<Owned> owned_;
  std::map<std::string, std::string, std::less<>> subgraphs_;
  std::string metadata_ = "{}";
  std::string verifier_ = "TRAINING";
};

}  // namespace regraft::test
