#include <algorithm>

#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/row_product.h"

namespace regraft::cuda {
namespace {

// A product of cuBLASLt and what its epilogue does not do.
class GemmKernel final : public Kernel {
 public:
  GemmKernel(CudaDevice& device, const KernelRequest& request, const Product& product,
             Launch epilogue, bool has_epilogue)
      : product_(device, request, product),
        epilogue_(std::move(epilogue)),
        has_epilogue_(has_epilogue) {}
  void run(const KernelArguments& arguments) const override {
    product_.run(arguments);
    if (has_epilogue_) epilogue_.run(arguments);
  }
  size_t workspace_bytes() const override { return product_.workspace_bytes(); }
  std::string tactic() const override {
    return has_epilogue_ ? product_.tactic() + "+pointwise" : product_.tactic();
  }

 private:
  RowProduct product_;
  Launch epilogue_;
  bool has_epilogue_;
};

// The leading items that cuBLASLt does itself move into `product`; `operand` is the first of the
// step's inputs that items take.
size_t take_items(Product& product, const KernelRequest& request, const Epilogue& items,
                  size_t& operand, const LaunchOperand& result) {
  size_t taken = 0;
  if (taken < items.size() && items[taken].name == "add" && operand < request.inputs.size()) {
    const Operand& addend = request.inputs[operand];
    if (addend.dims == request.outputs[0].dims && addend.strides == request.outputs[0].strides &&
        addend.dtype == result.dtype) {
      MatrixOperand of = product.result;
      of.place = Place::input(operand);
      of.alignment = addend.alignment;
      product.addend = of;
      ++operand;
      ++taken;
    }
  }
  if (taken < items.size() && items[taken].name == "relu") {
    product.activation = Product::Activation::Relu;
    ++taken;
  } else if (taken < items.size() && items[taken].name == "gelu_tanh") {
    product.activation = Product::Activation::GeluTanh;
    ++taken;
  }
  return taken;
}

// All but the last dim of a step's first operand and of its result: rows of matrices, and a stack
// of those where the two do not walk all rows evenly.
struct Rows {
  struct Dim {
    int64_t size = 1, x = 0, result = 0;  // Strides.
  };
  Dim row;
  std::vector<Dim> batch;

  Dims all(int64_t Dim::* member) const {
    Dims out;
    for (const Dim& dim : batch)
      out.push_back(dim.*member);
    return out;
  }
};

// Each way to choose the rows; long matrices, which keep more of the device busy, first.
std::vector<Rows> rows_of(const Operand& x, const Operand& result) {
  std::vector<Rows::Dim> dims;
  for (size_t d = 0; d + 1 < result.dims.size(); ++d) {
    if (result.dims[d] == 1) continue;
    const Rows::Dim next{result.dims[d], x.strides[d], result.strides[d]};
    if (!dims.empty() && dims.back().x == next.x * next.size &&
        dims.back().result == next.result * next.size) {
      dims.back() = {dims.back().size * next.size, next.x, next.result};
    } else {
      dims.push_back(next);
    }
  }
  if (dims.empty()) return {Rows{{1, 0, result.dims.back()}, {}}};
  std::vector<Rows> ways;
  for (size_t d = 0; d < dims.size(); ++d) {
    ways.push_back({dims[d], dims});
    ways.back().batch.erase(ways.back().batch.begin() + static_cast<std::ptrdiff_t>(d));
  }
  std::stable_sort(ways.begin(), ways.end(),
                   [](const Rows& a, const Rows& b) { return a.row.size > b.row.size; });
  return ways;
}

// The matrices of an operand whose last dim is their columns.
MatrixOperand matrices_of(const LaunchOperand& operand, int64_t rows, int64_t row, Dims batch) {
  MatrixOperand m;
  m.place = operand.place;
  m.dtype = operand.dtype;
  m.alignment = operand.alignment;
  m.rows = rows;
  m.columns = operand.dims.back();
  m.row = row;
  m.column = operand.strides.back();
  m.batch = std::move(batch);
  return m;
}

// Operands of one floating-point type that the result has too, or is f32 of 16-bit ones; a bias is
// of the result's.
bool is_one_float(const KernelRequest& request, bool has_bias) {
  const DType dtype = request.inputs[0].dtype, result = request.outputs[0].dtype;
  return Gemm::supports(dtype) && request.inputs[1].dtype == dtype &&
         (result == dtype || (result == DType::F32 && item_size(dtype) == 2)) &&
         (!has_bias || request.inputs[2].dtype == result);
}

// `product` and the step's epilogue, whose operands start at input `operand`; null if cuBLASLt does
// not take the product or no kernel its epilogue.
std::unique_ptr<Kernel> try_gemm(CudaDevice& device, const KernelRequest& request, Product product,
                                 size_t operand, const LaunchOperand& result) {
  const Epilogue items = epilogue_of(request);
  const size_t taken = take_items(product, request, items, operand, result);
  const std::span<const EpilogueItem> rest(items.begin() + static_cast<std::ptrdiff_t>(taken),
                                           items.end());
  try {
    Launch epilogue;
    if (!rest.empty()) {
      epilogue = make_epilogue(device, request, output_of(request, 0), std::nullopt, rest, operand);
    }
    return std::make_unique<GemmKernel>(device, request, product, std::move(epilogue),
                                        !rest.empty());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    return nullptr;
  }
}

// Any dtypes and strides, one thread for each element.
std::unique_ptr<Kernel> plain_product(CudaDevice& device, const KernelRequest& request,
                                      LaunchOperand x, LaunchOperand y, int64_t depth,
                                      int64_t x_step, int64_t y_step, bool has_bias,
                                      size_t first_operand) {
  if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
  ElementSpec spec;
  spec.source = "product";
  spec.inputs = {std::move(x), std::move(y)};
  if (has_bias) spec.inputs.push_back(broadcast_input(request, 2));
  spec.outputs = {output_of(request, 0)};
  spec.ints = {depth, x_step, y_step};
  std::vector<Launch> launches;
  launches.push_back(make_element(device, spec));
  const Epilogue items = epilogue_of(request);
  if (!items.empty()) {
    launches.push_back(
        make_epilogue(device, request, output_of(request, 0), std::nullopt, items, first_operand));
  }
  return std::make_unique<LaunchKernel>(std::move(launches), "product");
}

std::unique_ptr<Kernel> prepare_linear(CudaDevice& device, const KernelRequest& request) {
  const Operand &x = request.inputs[0], &weight = request.inputs[1], &out = request.outputs[0];
  if (is_empty(out)) return std::make_unique<NoKernel>();
  const bool has_bias = is_present(request.inputs, 2);
  if (is_one_float(request, has_bias) && x.dims.back() > 0 &&
      (!has_bias || request.inputs[2].strides[0] == 1)) {
    const LaunchOperand result = output_of(request, 0);
    LaunchOperand y = input_of(request, 1);
    std::swap(y.dims[0], y.dims[1]);
    std::swap(y.strides[0], y.strides[1]);
    for (const Rows& rows : rows_of(x, out)) {
      Product product;
      product.batch = rows.all(&Rows::Dim::size);
      product.x =
          matrices_of(input_of(request, 0), rows.row.size, rows.row.x, rows.all(&Rows::Dim::x));
      product.y = matrix_of(y, 0);
      product.y.batch.assign(rows.batch.size(), 0);
      product.result =
          matrices_of(result, rows.row.size, rows.row.result, rows.all(&Rows::Dim::result));
      if (has_bias) product.bias = input_of(request, 2);
      if (auto kernel = try_gemm(device, request, product, 3, result)) return kernel;
    }
  }
  LaunchOperand a = input_of(request, 0), b = input_of(request, 1);
  a.dims = out.dims;
  a.strides.back() = 0;
  b.dims = out.dims;
  b.strides.assign(out.dims.size(), 0);
  b.strides.back() = weight.strides[0];
  return plain_product(device, request, a, b, x.dims.back(), x.strides.back(), weight.strides[1],
                       has_bias, 3);
}

// A vector as a matrix with one row or one column.
LaunchOperand as_stack(LaunchOperand operand, bool vector_is_row) {
  if (operand.dims.size() > 1) return operand;
  operand.dims.insert(vector_is_row ? operand.dims.begin() : operand.dims.end(), 1);
  operand.strides.insert(vector_is_row ? operand.strides.begin() : operand.strides.end(), 0);
  return operand;
}

// With the batch dims of `batch`, to which its own broadcast.
MatrixOperand broadcast_matrix(const LaunchOperand& operand, const Dims& batch) {
  Operand lead;
  lead.dims.assign(operand.dims.begin(), operand.dims.end() - 2);
  lead.strides.assign(operand.strides.begin(), operand.strides.end() - 2);
  MatrixOperand m = matrix_of(operand, operand.dims.size() - 2);
  m.batch = broadcast_strides(lead, batch);
  return m;
}

std::unique_ptr<Kernel> prepare_matmul(CudaDevice& device, const KernelRequest& request) {
  const Operand& out = request.outputs[0];
  if (is_empty(out)) return std::make_unique<NoKernel>();
  const bool x_vector = request.inputs[0].dims.size() == 1;
  const bool y_vector = request.inputs[1].dims.size() == 1;
  LaunchOperand x = as_stack(input_of(request, 0), true), y = as_stack(input_of(request, 1), false);
  LaunchOperand result = output_of(request, 0);
  if (x_vector) {
    result.dims.insert(result.dims.end() - (y_vector ? 0 : 1), 1);
    result.strides.insert(result.strides.end() - (y_vector ? 0 : 1), 0);
  }
  if (y_vector) {
    result.dims.push_back(1);
    result.strides.push_back(0);
  }
  const Dims batch(result.dims.begin(), result.dims.end() - 2);
  Product product;
  product.x = broadcast_matrix(x, batch);
  product.y = broadcast_matrix(y, batch);
  product.result = matrix_of(result, batch.size());
  if (product.result.rows == 1 && product.result.row == 0)
    product.result.row = product.result.columns;
  product.batch = batch;
  const int64_t depth = product.x.columns;
  if (is_one_float(request, false) && depth > 0) {
    if (auto kernel = try_gemm(device, request, product, 2, result)) return kernel;
  }
  // Strides over the output's own dims.
  LaunchOperand a = input_of(request, 0), b = input_of(request, 1);
  a.dims = b.dims = out.dims;
  a.strides = product.x.batch;
  b.strides = product.y.batch;
  if (!x_vector) {
    a.strides.push_back(product.x.row);
    b.strides.push_back(0);
  }
  if (!y_vector) {
    a.strides.push_back(0);
    b.strides.push_back(product.y.column);
  }
  return plain_product(device, request, a, b, depth, product.x.column, product.y.row, false, 2);
}

constexpr KernelDef kKernels[] = {{"linear", prepare_linear}, {"matmul", prepare_matmul}};

}  // namespace

extern const KernelFile k_kernels_products;
const KernelFile k_kernels_products = kKernels;

}  // namespace regraft::cuda
