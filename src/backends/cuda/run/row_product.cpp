#include "backends/cuda/run/row_product.h"

#include <algorithm>

#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/tf32.h"
#include "backends/cuda/run/tuner.h"

namespace regraft::cuda {
namespace {

constexpr std::string_view kKind = "columns:", kWhole = "columns:whole", kSplit = "columns:split";
constexpr size_t kVectorBytes = 16, kMostCopied = size_t{1} << 30;

int64_t vector_of(DType dtype) { return static_cast<int64_t>(kVectorBytes / item_size(dtype)); }

// Where the rows of the result begin at whole vectors.
bool has_whole_rows(const MatrixOperand& result) {
  return result.row % vector_of(result.dtype) == 0 && result.alignment % kVectorBytes == 0;
}

size_t padded_bytes(const MatrixOperand& result) {
  const int64_t vector = vector_of(result.dtype);
  const int64_t row = (result.columns + vector - 1) / vector * vector;
  return rounded(static_cast<size_t>(result.rows * row) * item_size(result.dtype));
}

bool may_split(const Product& product) {
  constexpr int64_t kFewestColumns = 1024, kFewestRows = 16;
  const MatrixOperand& result = product.result;
  if (numel(product.batch) != 1 || result.column != 1 || result.columns < kFewestColumns ||
      result.rows < kFewestRows || result.columns % vector_of(result.dtype) == 0) {
    return false;
  }
  // An addend lies as the result.
  return has_whole_rows(result) || (!product.addend && padded_bytes(result) <= kMostCopied);
}

std::string problem_of(const KernelRequest& request, const Product& product) {
  const MatrixOperand &x = product.x, &y = product.y, &result = product.result;
  return base::cat("columns ", allows_tf32(request) ? "tf32" : name(result.dtype), " ", result.rows,
                   "x", result.columns, "x", x.columns, " x ", x.row, ",", x.column, " y ", y.row,
                   ",", y.column, " result ", result.row, " bias ", product.bias ? 1 : 0,
                   " addend ", product.addend ? 1 : 0, " activation ",
                   static_cast<int>(product.activation), " alignment ", x.alignment, ",",
                   y.alignment, ",", result.alignment);
}

// Columns [first, first + count) of the product.
Product part_of(Product product, int64_t first, int64_t count) {
  const auto narrow = [&](MatrixOperand& matrix) {
    matrix.columns = count;
    matrix.place.offset += static_cast<size_t>(first * matrix.column) * item_size(matrix.dtype);
  };
  narrow(product.y);
  narrow(product.result);
  if (product.addend) narrow(*product.addend);
  if (product.bias) {
    product.bias->place.offset += static_cast<size_t>(first) * item_size(product.bias->dtype);
  }
  // y's columns may begin anywhere.
  if (product.y.place.offset % product.y.alignment != 0) {
    product.y.alignment = item_size(product.y.dtype);
  }
  return product;
}

}  // namespace

RowProduct::RowProduct(CudaDevice& device, const KernelRequest& request, const Product& product)
    : device_(device), request_(&request) {
  if (may_split(product)) {
    choose(product);
  } else {
    way_ = whole(product);
  }
  request_ = nullptr;
  for (const auto& gemm : way_.products)
    tactic_ += (tactic_.empty() ? "" : "+") + gemm->tactic();
  if (!way_.id.empty()) tactic_ = way_.id + "+" + tactic_;
}

RowProduct::Way RowProduct::whole(const Product& product) const {
  Way way;
  way.products.push_back(std::make_unique<Gemm>(device_, *request_, product));
  way.workspace_bytes = way.products[0]->workspace_bytes();
  return way;
}

RowProduct::Way RowProduct::split(const Product& product) const {
  Way way;
  Product padded = product;
  size_t begin = 0;
  MatrixOperand& result = padded.result;
  const int64_t vector = vector_of(result.dtype);
  if (!has_whole_rows(result)) {
    const Dims dims = {result.rows, result.columns};
    const int64_t row = (result.columns + vector - 1) / vector * vector;
    const LaunchOperand made{Place::workspace(0), result.dtype, dims, {row, 1}, kVectorBytes};
    const LaunchOperand out{result.place, result.dtype, dims, {result.row, 1}, result.alignment};
    way.copy = make_copy(device_, made, out);
    begin = padded_bytes(result);
    result = matrix_of(made, 0);
    result.batch.assign(product.batch.size(), 0);
  }
  const int64_t columns = result.columns / vector * vector;
  const Product parts[] = {part_of(padded, 0, columns),
                           part_of(padded, columns, result.columns - columns)};
  for (size_t i = 0; i < std::size(parts); ++i) {
    way.products.push_back(std::make_unique<Gemm>(device_, *request_, parts[i], begin, i));
    way.workspace_bytes = std::max(way.workspace_bytes, way.products[i]->workspace_bytes());
  }
  return way;
}

std::optional<RowProduct::Way> RowProduct::try_split(const Product& product) const {
  try {
    return split(product);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    return std::nullopt;
  }
}

void RowProduct::choose(const Product& product) {
  const std::string problem = problem_of(*request_, product);
  Tuner& tuner = tuner_of(device_);
  const auto known = tuner.known(*request_, problem, kKind);
  const bool times = !known && Tuner::may_time(*request_);
  // What is not timed: tensor cores gain most.
  const bool is_narrow = item_size(product.result.dtype) == 2;
  std::vector<Way> ways;
  if (known ? *known == kSplit : times || is_narrow) {
    if (auto way = try_split(product)) ways.push_back(std::move(*way));
  }
  if (ways.empty() || times) ways.push_back(whole(product));
  std::vector<Candidate> candidates;
  for (Way& way : ways) {
    way.id = way.products.size() > 1 ? kSplit : kWhole;
    candidates.push_back(
        {way.id, way.workspace_bytes, [&way](const KernelArguments& a) { run(way, a); }});
  }
  way_ = std::move(ways[ways.size() > 1 ? tuner.fastest(*request_, problem, candidates) : 0]);
}

void RowProduct::run(const Way& way, const KernelArguments& arguments) {
  for (const auto& product : way.products)
    product->run(arguments);
  way.copy.run(arguments);
}

}  // namespace regraft::cuda
