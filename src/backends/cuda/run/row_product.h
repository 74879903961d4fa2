#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cuda/run/gemm.h"

namespace regraft::cuda {

// A product by cuBLASLt. Where the number of columns is odd, as that of a vocabulary may be, its
// kernels write element by element and are several times slower. The tuner says which is fastest:
//   - whole: that.
//   - split: the columns that fill vectors and the last few are products of their own; of results
//     whose rows begin at whole vectors.
//   - padded: of other results, the columns that fill vectors are calculated into rows of whole
//     vectors and copied from there.
//   - staggered: rows that begin at the same place of a vector are a product each, from the first
//     column that begins a vector on; the columns before and behind are products of all rows, done
//     first, as the others write some of their columns again.
class RowProduct {
 public:
  // Throws as Gemm.
  RowProduct(CudaDevice& device, const KernelRequest& request, const Product& product);

  void run(const KernelArguments& arguments) const { run(way_, arguments); }
  size_t workspace_bytes() const { return way_.workspace_bytes; }
  const std::string& tactic() const { return tactic_; }

 private:
  struct Way {
    std::vector<std::unique_ptr<Gemm>> products;
    Launch copy;
    size_t workspace_bytes = 0;
    std::string id;
  };
  Way whole(const Product& product) const;
  Way split(const Product& product) const;
  Way padded(const Product& product) const;
  Way staggered(const Product& product) const;
  void add(Way& way, const Product& part, size_t workspace_offset = 0) const;
  // The way of this id; nothing where cuBLASLt does not take the parts.
  std::optional<Way> try_way(std::string_view id, const Product& product) const;
  void choose(const Product& product);
  static void run(const Way& way, const KernelArguments& arguments);

  CudaDevice& device_;
  const KernelRequest* request_;  // While it is made.
  Way way_;
  std::string tactic_;
};

}  // namespace regraft::cuda
