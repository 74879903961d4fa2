#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "regraft/tensor.h"
#include "tensor/sym_int.h"

// The exported program as torch.export.save wrote it (torch/_export/serde/schema.py, major version
// 8), reduced to what lowering reads. Plain data; names are those of the file, unchecked but for
// what read_exported() promises.
namespace regraft::program {

struct ExportedGraph;

// An expression the program states; nothing when it cannot be written as a SymInt.
using StatedSize = std::optional<SymInt>;

struct TensorMeta {
  std::optional<DType> dtype;  // Nothing for a dtype Regraft does not have.
  int serialised_dtype = 0;
  std::vector<StatedSize> sizes;
  std::vector<StatedSize> strides;
  bool is_strided = true;
};

// Elements of an integer list, or one symbolic argument: the name of a symbolic value, or a number.
struct SymElement {
  std::string name;  // Empty for a number.
  int64_t value = 0;
};

struct TensorName {
  std::string name;
};
// A symbolic int, bool or float, by name.
struct SymName {
  std::string name;
};
enum class MemoryFormat : uint8_t { Unknown, Contiguous, ChannelsLast, ChannelsLast3d, Preserve };
struct DTypeId {
  std::optional<DType> dtype;
  int serialised = 0;
};
struct Device {
  std::string type;
};
struct Layout {
  bool is_strided = true;
};
// An argument of a kind lowering has no use for ("as_custom_obj", "as_complex", ...).
struct OtherArgument {
  std::string kind;
};
// Elements are empty where an optional tensor is absent.
using TensorNames = std::vector<std::string>;

using ArgumentValue =
    std::variant<std::monostate, bool, int64_t, double, std::string, TensorName, SymName,
                 TensorNames, std::vector<SymElement>, std::vector<double>, std::vector<bool>,
                 DTypeId, MemoryFormat, Device, Layout, std::shared_ptr<const ExportedGraph>,
                 OtherArgument>;

struct NamedArgument {
  std::string name;  // Empty for operands of higher-order ops.
  ArgumentValue value;
};

struct ExportedNode {
  std::string target;  // "torch.ops.aten.conv2d.default", "_operator.mul", ...
  std::string name;    // Its own, or that of its first result in files of torch 2.9.
  std::vector<NamedArgument> inputs;
  std::vector<ArgumentValue> outputs;  // TensorName, TensorNames, SymName or None.
  std::string module_path;             // "layer1.0.conv1"
  std::string source_line;             // "resnet.py:93"
};

struct ExportedGraph {
  std::vector<ArgumentValue> inputs;
  std::vector<ArgumentValue> outputs;
  std::vector<ExportedNode> nodes;
  std::map<std::string, TensorMeta, std::less<>> tensors;
  std::map<std::string, StatedSize, std::less<>> sizes;  // Symbolic ints by name.
  SymbolValues hints;  // Of the example call, of symbols that are a size of some tensor.
};

enum class InputKind : uint8_t {
  Parameter,
  Buffer,
  TensorConstant,
  User,
  ConstantInput,  // A number, string or None baked in at export.
  Size,  // Of a part of a program (extract.h): a number that the sizes of its inputs determine.
  CustomObject,
  Token,
};

struct InputSpec {
  InputKind kind = InputKind::User;
  std::string argument;  // Name of the graph input; empty for a constant one without a tensor.
  std::string target;    // FQN for parameters, buffers, constants.
  bool persistent = true;
  bool is_tensor = true;
};

enum class OutputKind : uint8_t { User, BufferMutation, InputMutation, ParameterMutation, Other };

struct OutputSpec {
  OutputKind kind = OutputKind::User;
  ArgumentValue value;  // What is returned.
  std::string target;   // FQN or input name for mutations; the schema's word for Other.
};

struct SymbolRange {
  int64_t min = 0;
  int64_t max = INT64_MAX;
};

struct ExportedProgram {
  ExportedGraph graph;
  std::vector<InputSpec> inputs;              // One per input of the graph, in order.
  std::vector<OutputSpec> outputs;            // One per output of the graph, in order.
  std::map<std::string, SymbolRange> ranges;  // Of plain symbols.
  std::vector<std::string> guards;            // Of the inputs' sizes, as PyTorch prints them.
  std::string in_spec, out_spec;              // Serialised pytrees; may be empty.
  std::vector<std::string> forward_arguments;
  // Written by run_decompositions: no node mutates or aliases its arguments.
  bool is_functional = false;
};

}  // namespace regraft::program
