#include "backends/cuda/run/row_product.h"

#include <algorithm>
#include <numeric>

#include "backends/cuda/run/shifted_rows.h"
#include "backends/cuda/run/tf32.h"
#include "backends/cuda/run/tuner.h"

namespace regraft::cuda {
namespace {

constexpr std::string_view kKind = "columns:", kWhole = "columns:whole", kSplit = "columns:split",
                           kPadded = "columns:padded", kStaggered = "columns:staggered";
constexpr size_t kVectorBytes = 16;

int64_t vector_of(DType dtype) { return static_cast<int64_t>(kVectorBytes / item_size(dtype)); }

// Where the rows of the result begin at whole vectors.
bool has_whole_rows(const MatrixOperand& result) {
  return result.row % vector_of(result.dtype) == 0 && result.alignment % kVectorBytes == 0;
}

bool is_odd(const Product& product) {
  constexpr int64_t kFewestColumns = 1024, kFewestRows = 16;
  const MatrixOperand& result = product.result;
  return numel(product.batch) == 1 && result.column == 1 && result.columns >= kFewestColumns &&
         result.rows >= kFewestRows && result.columns % vector_of(result.dtype) != 0;
}

bool may_split(const Product& product) { return has_whole_rows(product.result); }

size_t padded_bytes(const MatrixOperand& result) {
  const int64_t vector = vector_of(result.dtype);
  return rounded(static_cast<size_t>(result.rows * (result.columns / vector * vector)) *
                 item_size(result.dtype));
}

// An addend lies as the result.
bool may_pad(const Product& product) {
  constexpr size_t kMost = size_t{1} << 30;
  const size_t item = item_size(product.result.dtype);
  return !has_whole_rows(product.result) && !product.addend && (item == 2 || item == 4) &&
         padded_bytes(product.result) <= kMost;
}

// So many rows on, a row begins at the same place of a vector again.
int64_t turns_of(const MatrixOperand& result) {
  const int64_t vector = vector_of(result.dtype);
  return vector / std::gcd(result.row, vector);
}

// Turns are products of their own: they must not be small. Not with a bias, which cuBLASLt may read
// in vectors.
bool may_stagger(const Product& product) {
  const MatrixOperand& result = product.result;
  const int64_t fewest_rows = result.dtype == DType::F32 ? 16 : 128;
  return !has_whole_rows(result) && result.alignment % kVectorBytes == 0 && result.row > 0 &&
         !product.bias && !product.addend && result.rows >= fewest_rows * turns_of(result);
}

std::string problem_of(const KernelRequest& request, const Product& product) {
  const MatrixOperand &x = product.x, &y = product.y, &result = product.result;
  return base::cat("columns ", allows_tf32(request) ? "tf32" : name(result.dtype),
                   x.dtype == result.dtype ? "" : base::cat(" of ", name(x.dtype)), " ",
                   result.rows, "x", result.columns, "x", x.columns, " x ", x.row, ",", x.column,
                   " y ", y.row, ",", y.column, " result ", result.row, " bias ",
                   product.bias ? 1 : 0, " addend ", product.addend ? 1 : 0, " activation ",
                   static_cast<int>(product.activation), " alignment ", x.alignment, ",",
                   y.alignment, ",", result.alignment);
}

// Of an operand that may begin anywhere.
void align(MatrixOperand& matrix) {
  if (matrix.place.offset % matrix.alignment != 0) matrix.alignment = item_size(matrix.dtype);
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
  align(product.y);
  return product;
}

// Rows first, first + turns, ... of the product.
Product turn_of(Product product, int64_t first, int64_t turns) {
  const int64_t rows = (product.result.rows - first + turns - 1) / turns;
  for (MatrixOperand* matrix : {&product.x, &product.result}) {
    matrix->rows = rows;
    matrix->place.offset += static_cast<size_t>(first * matrix->row) * item_size(matrix->dtype);
    matrix->row *= turns;
  }
  align(product.x);
  return product;
}

}  // namespace

RowProduct::RowProduct(CudaDevice& device, const KernelRequest& request, const Product& product)
    : device_(device), request_(&request) {
  if (is_odd(product) && (may_split(product) || may_pad(product) || may_stagger(product))) {
    choose(product);
  } else {
    way_ = whole(product);
  }
  request_ = nullptr;
  for (const auto& gemm : way_.products)
    tactic_ += (tactic_.empty() ? "" : "+") + gemm->tactic();
  if (!way_.id.empty()) tactic_ = way_.id + "+" + tactic_;
}

void RowProduct::add(Way& way, const Product& part, size_t workspace_offset) const {
  const size_t nth = way.products.size();
  way.products.push_back(std::make_unique<Gemm>(device_, *request_, part, workspace_offset, nth));
  way.workspace_bytes = std::max(way.workspace_bytes, way.products.back()->workspace_bytes());
}

RowProduct::Way RowProduct::whole(const Product& product) const {
  Way way;
  add(way, product);
  return way;
}

RowProduct::Way RowProduct::split(const Product& product) const {
  Way way;
  const MatrixOperand& result = product.result;
  const int64_t vector = vector_of(result.dtype), columns = result.columns / vector * vector;
  add(way, part_of(product, 0, columns));
  add(way, part_of(product, columns, result.columns - columns));
  return way;
}

RowProduct::Way RowProduct::padded(const Product& product) const {
  Way way;
  const MatrixOperand& result = product.result;
  const int64_t vector = vector_of(result.dtype), columns = result.columns / vector * vector;
  const Dims dims = {result.rows, columns};
  const LaunchOperand made{Place::workspace(0), result.dtype, dims, {columns, 1}, kVectorBytes};
  const LaunchOperand out{result.place, result.dtype, dims, {result.row, 1}, result.alignment};
  Product most = part_of(product, 0, columns);
  most.result = matrix_of(made, 0);
  most.result.batch.assign(product.batch.size(), 0);
  add(way, most, padded_bytes(result));
  Product edge = part_of(product, columns, result.columns - columns);
  edge.result.alignment = item_size(result.dtype);
  add(way, edge, padded_bytes(result));
  way.copy = make_shifted_rows(device_, made, out);
  return way;
}

RowProduct::Way RowProduct::staggered(const Product& product) const {
  const MatrixOperand& result = product.result;
  const int64_t vector = vector_of(result.dtype), turns = turns_of(result);
  // Of each turn's rows: the columns before the first vector and behind the last.
  const auto before = [&](int64_t turn) { return (vector - turn * result.row % vector) % vector; };
  const auto inside = [&](int64_t turn) {
    return (result.columns - before(turn)) / vector * vector;
  };
  int64_t begin = 0, end = result.columns;
  for (int64_t turn = 0; turn < turns; ++turn) {
    begin = std::max(begin, before(turn));
    end = std::min(end, before(turn) + inside(turn));
  }
  Way way;
  const auto add_edge = [&](int64_t first, int64_t count) {
    Product edge = part_of(product, first, count);
    edge.result.alignment = item_size(result.dtype);
    if (count > 0) add(way, edge);
  };
  add_edge(0, begin);
  add_edge(end, result.columns - end);
  for (int64_t turn = 0; turn < turns; ++turn)
    add(way, turn_of(part_of(product, before(turn), inside(turn)), turn, turns));
  return way;
}

std::optional<RowProduct::Way> RowProduct::try_way(std::string_view id,
                                                   const Product& product) const {
  const bool may = (id == kSplit && may_split(product)) || (id == kPadded && may_pad(product)) ||
                   (id == kStaggered && may_stagger(product));
  if (!may) return std::nullopt;
  try {
    Way way = id == kSplit ? split(product) : id == kPadded ? padded(product) : staggered(product);
    way.id = id;
    return way;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    return std::nullopt;
  }
}

void RowProduct::choose(const Product& product) {
  const std::string problem = problem_of(*request_, product);
  Tuner& tuner = tuner_of(device_);
  auto known = tuner.known(*request_, problem, kKind);
  std::vector<Way> ways;
  if (known && *known != kWhole) {
    if (auto way = try_way(*known, product)) ways.push_back(std::move(*way));
    if (ways.empty()) known.reset();  // Of another version, which had other ways.
  }
  // Of many numbers in 16 bits, single stores are never the fastest, and their trial takes long.
  constexpr int64_t kMany = int64_t{1} << 24;
  const bool is_many = item_size(product.result.dtype) == 2 &&
                       (may_split(product) || may_pad(product)) &&
                       product.result.rows * product.result.columns > kMany;
  const bool times = !known && Tuner::may_time(*request_) && !is_many;
  // What is not timed: tensor cores gain most.
  const bool is_narrow = item_size(product.x.dtype) == 2;
  for (const std::string_view id : {kSplit, kPadded, kStaggered}) {
    if (known || (!times && (!is_narrow || !ways.empty()))) continue;
    if (auto way = try_way(id, product)) ways.push_back(std::move(*way));
  }
  if (ways.empty() || times) {
    ways.push_back(whole(product));
    ways.back().id = kWhole;
  }
  std::vector<Candidate> candidates;
  for (const Way& way : ways) {
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
