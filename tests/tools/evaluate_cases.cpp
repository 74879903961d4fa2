// Evaluates every conformance case on the reference kernels and writes inputs and outputs for
// tests/python/test_reference.py, which compares them with PyTorch.
//
//   evaluate_cases FOLDER
//
// FOLDER/cases.txt has one record per line, fields separated by tabs:
//   case <file> <name> <dtype of T> <sizes as s0=5,...> <tolerances as f32=1e-6,...> <torch>
//   input|output <name> <dtype> <dims as 2,3> <byte offset into data.bin>   (of the case above)
//   error <message>                                                         (in place of outputs)
// FOLDER/data.bin holds the tensors, row-major.
#include <fstream>
#include <iostream>

#include "support/case_file.h"
#include "support/evaluator.h"

namespace regraft::test {
namespace {

class Writer {
 public:
  explicit Writer(const std::string& folder)
      : list_(folder + "/cases.txt"), data_(folder + "/data.bin", std::ios::binary) {}

  void write(const Case& c) {
    list_ << "case\t" << c.op << '\t' << c.name << '\t' << c.dtype << '\t';
    for (const auto& [name, size] : c.sizes)
      list_ << name << '=' << size << ',';
    list_ << '\t';
    for (const auto& [dtype, error] : c.tolerance)
      list_ << dtype << '=' << error << ',';
    list_ << '\t' << c.torch << '\n';
    try {
      evaluate_case(c);
    } catch (const Error& error) {
      list_ << "error\t" << error.what() << '\n';
    }
  }

  bool good() {
    list_.flush();
    data_.flush();
    return list_.good() && data_.good();
  }

 private:
  void evaluate_case(const Case& c) {
    const auto graph = c.parse();
    const std::vector<StoredTensor> inputs = make_inputs(c, *graph);
    std::vector<TensorView> views;
    for (size_t i = 0; i < inputs.size(); ++i) {
      views.push_back(inputs[i].view);
      tensor("input", graph->inputs()[i]->name(), Tensor::copy_of(inputs[i].view));
    }
    const std::vector<Tensor> outputs = evaluate(*graph, views, c.sizes);
    for (size_t i = 0; i < outputs.size(); ++i) {
      tensor("output", graph->outputs()[i].name, outputs[i]);
    }
  }

  void tensor(std::string_view kind, const std::string& name, const Tensor& value) {
    list_ << kind << '\t' << name << '\t' << regraft::name(value.dtype()) << '\t';
    for (const int64_t size : value.dims())
      list_ << size << ',';
    list_ << '\t' << offset_ << '\n';
    const TensorView view = value.view();
    data_.write(view.as<char>(), static_cast<std::streamsize>(view.bytes()));
    // The next tensor is aligned for its element type.
    constexpr size_t kAlignment = 16;
    const size_t padding = (kAlignment - view.bytes() % kAlignment) % kAlignment;
    data_.write("................", static_cast<std::streamsize>(padding));
    offset_ += view.bytes() + padding;
  }

  std::ofstream list_, data_;
  size_t offset_ = 0;
};

}  // namespace
}  // namespace regraft::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: evaluate_cases FOLDER\n";
    return 2;
  }
  try {
    regraft::test::Writer writer(argv[1]);
    for (const std::string& file : regraft::test::case_files()) {
      for (const regraft::test::Case& c : regraft::test::load_cases(file))
        writer.write(c);
    }
    return writer.good() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
