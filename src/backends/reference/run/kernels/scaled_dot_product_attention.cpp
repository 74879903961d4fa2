#include <cmath>
#include <limits>

#include "backends/reference/run/product.h"
#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

constexpr std::string_view kOp = "scaled_dot_product_attention";
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Strides of an operand's batch over the result's batch dims. Under enable_gqa one head of key or
// value serves `heads_per` neighbouring heads of the query.
struct Batch {
  Dims dims, strides;
  int64_t heads_per = 1;
  int64_t head_stride = 0;

  Batch(const TensorView& view, const Dims& batch, bool grouped) : dims(batch) {
    TensorView lead(view.data, view.dtype, Dims(view.dims.begin(), view.dims.end() - 2),
                    Dims(view.strides.begin(), view.strides.end() - 2));
    if (grouped) {
      const int64_t heads = std::max<int64_t>(lead.dims.back(), 1);
      check_size(kOp, "heads", batch.back() / heads * heads, batch.back());
      heads_per = batch.back() / heads;
      head_stride = lead.strides.back();
      lead.dims.back() = 1;
    }
    strides = broadcast_strides(lead, batch);
  }

  int64_t offset(int64_t index) const {
    const int64_t head = head_stride == 0 ? 0 : index % dims.back() / heads_per * head_stride;
    return offset_of(index, dims, strides) + head;
  }
};

template <typename T>
class Attention {
 public:
  explicit Attention(const Call& call)
      : call_(call),
        batch_(call.out(0).dims.begin(), call.out(0).dims.end() - 2),
        query_(call.in(0), batch_, false),
        key_(call.in(1), batch_, call.attributes().flag("enable_gqa")),
        value_(call.in(2), batch_, call.attributes().flag("enable_gqa")),
        features_(call.in(0).dims.back()),
        queries_(call.in(0).dims[call.in(0).dims.size() - 2]),
        keys_(call.in(1).dims[call.in(1).dims.size() - 2]),
        scale_(call.attributes().is_none("scale") ? 1 / std::sqrt(static_cast<double>(features_))
                                                  : call.attributes().number("scale")),
        causal_(call.attributes().flag("is_causal")) {
    check_size(kOp, "features of key", features_, call.in(1).dims.back());
    check_size(kOp, "rows of value", keys_, call.in(2).dims[call.in(2).dims.size() - 2]);
    if (!call.has(3)) return;
    Dims scores = batch_;
    scores.insert(scores.end(), {queries_, keys_});
    mask_dims_ = scores;
    mask_strides_ = broadcast_strides(call.in(3), scores);
  }

  void run() const {
    const int64_t blocks = (queries_ + kBlock - 1) / kBlock;
    base::parallel_for(numel(batch_) * blocks, 1, [&](int64_t begin, int64_t end) {
      Multiplier<double> multiplier;
      std::vector<double> weights;
      for (int64_t t = begin; t < end; ++t) {
        const int64_t first = t % blocks * kBlock;
        attend(t / blocks, first, std::min(kBlock, queries_ - first), multiplier, weights);
      }
    });
  }

 private:
  static constexpr int64_t kBlock = 64;  // Queries at a time.

  static Matrix<double, T> matrix(const TensorView& view, int64_t offset) {
    const size_t n = view.dims.size();
    return {view.as<T>() + offset, view.strides[n - 2], view.strides[n - 1]};
  }

  void attend(int64_t index, int64_t first, int64_t rows, Multiplier<double>& multiplier,
              std::vector<double>& weights) const {
    const auto query = matrix(call_.in(0), query_.offset(index));
    const auto key = matrix(call_.in(1), key_.offset(index));
    const auto value = matrix(call_.in(2), value_.offset(index));
    const MutableTensorView& out = call_.out(0);
    const size_t n = out.dims.size();
    weights.resize(static_cast<size_t>(rows * keys_));

    const auto transposed_key = [&](int64_t p, int64_t j) { return key(j, p); };
    const Tiling score_tiles(rows, keys_);
    const auto block_query = [&](int64_t i, int64_t p) { return query(first + i, p); };
    for (int64_t t = 0; t < score_tiles.count(); ++t) {
      multiplier.multiply(
          score_tiles.at(t), features_, block_query, transposed_key,
          [&](int64_t i, int64_t j, double sum) { weights[i * keys_ + j] = sum * scale_; });
    }
    for (int64_t i = 0; i < rows; ++i) {
      mask_row(index, first + i, weights.data() + i * keys_);
      normalise(weights.data() + i * keys_);
    }
    T* to = out.as_mutable<T>() + offset_of(index, batch_, out.strides);
    const auto weight = [&](int64_t i, int64_t p) { return weights[i * keys_ + p]; };
    const Tiling out_tiles(rows, out.dims.back());
    for (int64_t t = 0; t < out_tiles.count(); ++t) {
      multiplier.multiply(
          out_tiles.at(t), keys_, weight, value, [&](int64_t i, int64_t j, double sum) {
            to[(first + i) * out.strides[n - 2] + j * out.strides[n - 1]] = convert<T>(sum);
          });
    }
  }

  void mask_row(int64_t index, int64_t query, double* scores) const {
    if (causal_) {
      for (int64_t j = query + 1; j < keys_; ++j)
        scores[j] = -kInfinity;
    }
    if (!call_.has(3) || keys_ == 0) return;
    const TensorView& mask = call_.in(3);
    const int64_t row = offset_of((index * queries_ + query) * keys_, mask_dims_, mask_strides_);
    for (int64_t j = 0; j < keys_; ++j) {
      const int64_t at = row + j * mask_strides_.back();
      if (mask.dtype != DType::Bool) {
        scores[j] += load<double>(mask, at);
      } else if (!mask.as<bool>()[at]) {
        scores[j] = -kInfinity;
      }
    }
  }

  // Softmax, but a row without any key allowed becomes zeros instead of NaN, as PyTorch's.
  void normalise(double* scores) const {
    double most = -kInfinity;
    for (int64_t j = 0; j < keys_; ++j) {
      most = std::isnan(scores[j]) ? scores[j] : std::max(most, scores[j]);
    }
    if (most == -kInfinity) {
      std::fill_n(scores, keys_, 0.0);
      return;
    }
    double sum = 0;
    for (int64_t j = 0; j < keys_; ++j)
      sum += scores[j] = std::exp(scores[j] - most);
    for (int64_t j = 0; j < keys_; ++j)
      scores[j] /= sum;
  }

  const Call& call_;
  Dims batch_;
  Batch query_, key_, value_;
  int64_t features_, queries_, keys_;
  double scale_;
  bool causal_;
  Dims mask_dims_, mask_strides_;
};

void run(const Call& call) {
  visit_computed(call.out(0).dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<Compute<T>, double>) Attention<T>(call).run();
  });
}

constexpr KernelDef kKernels[] = {{kOp, run}};

}  // namespace

extern const KernelFile k_kernels_scaled_dot_product_attention = kKernels;

}  // namespace regraft::reference
