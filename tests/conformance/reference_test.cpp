// Every conformance case on the reference kernels: results must not depend on how operands are
// stored nor on the number of threads. Values are compared with PyTorch by
// tests/python/test_reference.py.
#include <set>

#include <gtest/gtest.h>

#include "base/parallel.h"
#include "support/case_file.h"
#include "support/compare.h"
#include "support/evaluator.h"

namespace regraft::test {
namespace {

std::vector<TensorView> views(const std::vector<StoredTensor>& tensors) {
  std::vector<TensorView> out;
  for (const StoredTensor& tensor : tensors)
    out.push_back(tensor.view);
  return out;
}

void expect_same_bits(const Case& c, const std::vector<Tensor>& want,
                      const std::vector<Tensor>& have) {
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(bit_mismatch(want[i].view(), have[i].view()), "") << c.name << ", output " << i;
  }
}

void check(const Case& c) {
  const auto graph = c.parse();
  const std::vector<StoredTensor> inputs = make_inputs(c, *graph);
  const std::vector<Tensor> plain = evaluate(*graph, views(inputs), c.sizes);
  expect_same_bits(c, plain, evaluate(*graph, views(inputs), c.sizes, {}, ResultLayout::Reversed));
  std::vector<TensorView> row_major;
  std::vector<Tensor> copies;
  for (const StoredTensor& input : inputs) {
    copies.push_back(Tensor::copy_of(input.view));
    row_major.push_back(copies.back().view());
  }
  expect_same_bits(c, plain, evaluate(*graph, row_major, c.sizes));
  const int threads = base::thread_count();
  base::set_thread_count(threads == 1 ? 3 : 1);
  expect_same_bits(c, plain, evaluate(*graph, views(inputs), c.sizes));
  base::set_thread_count(threads);
}

class Reference : public testing::TestWithParam<std::string> {};

TEST_P(Reference, DoesNotDependOnStorageOrThreads) {
  for (const Case& c : load_cases(GetParam())) {
    try {
      check(c);
    } catch (const Error& error) {
      ADD_FAILURE() << c.name << ": " << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Reference, testing::ValuesIn(case_files()),
                         [](const auto& info) { return info.param; });

TEST(Conformance, EveryOpHasACase) {
  std::set<std::string> used;
  for (const std::string& file : case_files()) {
    for (const Case& c : load_cases(file)) {
      const auto graph = c.parse();
      for (const auto& node : graph->nodes())
        used.insert(node->op().name);
    }
  }
  for (const ops::Op& op : ops::catalogue()) {
    EXPECT_TRUE(used.count(op.name)) << "no conformance case uses " << op.name;
  }
}

}  // namespace
}  // namespace regraft::test
