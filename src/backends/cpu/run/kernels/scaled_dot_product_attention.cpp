#include <cmath>

#include "backends/cpu/run/attention512.h"
#include "backends/cpu/run/attention_tile.h"
#include "backends/cpu/run/kernel.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

// Offsets of every head of one operand, in elements.
std::vector<int64_t> head_offsets(const Operand& operand, const Dims& batch, bool grouped) {
  Dims strides(batch.size(), 0);
  const size_t rank = operand.dims.size() - 2;
  const size_t lead = batch.size() - rank;
  for (size_t i = 0; i < rank; ++i) {
    if (operand.dims[i] != 1 || grouped) strides[lead + i] = operand.strides[i];
  }
  const int64_t heads_per = grouped ? batch.back() / operand.dims[rank - 1] : 1;
  std::vector<int64_t> offsets(static_cast<size_t>(numel(batch)));
  for (size_t index = 0; index < offsets.size(); ++index) {
    auto rest = static_cast<int64_t>(index);
    for (size_t i = batch.size(); i-- > 0;) {
      int64_t position = rest % batch[i];
      if (i + 1 == batch.size()) position /= heads_per;
      offsets[index] += position * strides[i];
      rest /= batch[i];
    }
  }
  return offsets;
}

class Attention final : public Kernel {
 public:
  explicit Attention(const KernelRequest& request) : type_(request.inputs[0].dtype) {
    const Operand& query = request.inputs[0];
    const Operand& key = request.inputs[1];
    const Operand& value = request.inputs[2];
    const Operand& out = request.outputs[0];
    const size_t rank = out.dims.size();
    const Dims batch(out.dims.begin(), out.dims.end() - 2);
    const bool grouped = request.attributes.flag("enable_gqa");
    tile_.features = query.dims.back();
    tile_.value_features = value.dims.back();
    tile_.value_lanes = round_up(tile_.value_features, kLanes);
    tile_.keys = key.dims[key.dims.size() - 2];
    rows_ = query.dims[query.dims.size() - 2];
    tile_.query_row = query.strides[query.strides.size() - 2];
    tile_.out_row = out.strides[rank - 2];
    key_row_ = key.strides[key.strides.size() - 2];
    value_row_ = value.strides[value.strides.size() - 2];
    tile_.causal = request.attributes.flag("is_causal");
    tile_.scale = request.attributes.is_none("scale")
                      ? 1.0f / std::sqrt(static_cast<float>(tile_.features))
                      : static_cast<float>(request.attributes.number("scale"));
    query_offsets_ = head_offsets(query, batch, false);
    key_offsets_ = head_offsets(key, batch, grouped);
    value_offsets_ = head_offsets(value, batch, grouped);
    out_offsets_ = head_offsets(out, batch, false);
    set_mask(request, batch);
    threads_ = base::thread_count();
    select_versions();
  }

  void run(const KernelArguments& arguments) const override {
    const auto heads = static_cast<int64_t>(out_offsets_.size());
    if (heads == 0 || rows_ == 0 || tile_.value_features == 0) return;
    // Queries of one head are split only where heads alone cannot keep the threads busy.
    const int64_t parts = std::min<int64_t>((4 * threads_ + heads - 1) / heads,
                                            (rows_ + query_block_ - 1) / query_block_);
    const int64_t part_rows = round_up((rows_ + parts - 1) / parts, query_block_);
    const int64_t slots = std::min<int64_t>(threads_, heads * parts);
    base::parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) {
        float* scratch = static_cast<float*>(arguments.workspace) + slot * slot_floats();
        int64_t packed = -1;
        for (int64_t t = heads * parts * slot / slots; t < heads * parts * (slot + 1) / slots;
             ++t) {
          const int64_t head = t / parts;
          if (packed < 0 || !shares_keys(packed, head)) pack(arguments, head, scratch);
          packed = head;
          const int64_t first = t % parts * part_rows;
          attend(arguments, head, first, std::min(rows_, first + part_rows), scratch);
        }
      }
    });
  }

  size_t workspace_bytes() const override {
    return static_cast<size_t>(threads_ * slot_floats()) * sizeof(float);
  }
  std::string tactic() const override { return isa() == Isa::Avx512 ? "tiled:avx512" : "tiled"; }

 private:
  bool shares_keys(int64_t a, int64_t b) const {
    return key_offsets_[a] == key_offsets_[b] && value_offsets_[a] == value_offsets_[b];
  }

  int64_t key_floats() const { return round_up(tile_.keys, kKeyBlock) * tile_.features; }
  int64_t slot_floats() const {
    const int64_t scratch =
        std::max(attention_scratch_floats(tile_.features, tile_.value_features),
                 attention512_scratch_floats(tile_.features, tile_.value_features));
    return round_up(key_floats() + tile_.keys * tile_.value_lanes + scratch, kLanes);
  }

  void pack(const KernelArguments& arguments, int64_t head, float* scratch) const {
    pack_keys_(at(arguments.inputs[1], key_offsets_[head]), key_row_, tile_.keys, tile_.features,
               scratch);
    pack_values_(at(arguments.inputs[2], value_offsets_[head]), value_row_, tile_.keys,
                 tile_.value_features, scratch + key_floats());
  }

  void attend(const KernelArguments& arguments, int64_t head, int64_t begin, int64_t end,
              float* scratch) const {
    AttentionTile tile = tile_;
    tile.keys_packed = scratch;
    tile.values_packed = scratch + key_floats();
    tile.scratch = scratch + key_floats() + tile_.keys * tile_.value_lanes;
    for (int64_t first = begin; first < end; first += query_block_) {
      tile.queries = std::min(query_block_, end - first);
      tile.first_row = first;
      tile.query = at(arguments.inputs[0], query_offsets_[head] + first * tile_.query_row);
      tile.out =
          const_cast<void*>(at(arguments.outputs[0], out_offsets_[head] + first * tile_.out_row));
      if (tile.mask_kind != 0) {
        const auto* mask = static_cast<const std::byte*>(arguments.inputs[3]);
        tile.mask = mask + (mask_offsets_[head] + first * tile_.mask_row) *
                               static_cast<int64_t>(mask_item_);
      }
      attend_(tile);
    }
  }

  const void* at(const void* base, int64_t offset) const {
    return static_cast<const std::byte*>(base) + offset * static_cast<int64_t>(item_size(type_));
  }

  void set_mask(const KernelRequest& request, const Dims& batch) {
    tile_.mask_kind = 0;
    if (!is_present(request.inputs, 3)) return;
    Operand mask = request.inputs[3];
    while (mask.dims.size() < 2) {
      mask.dims.insert(mask.dims.begin(), 1);
      mask.strides.insert(mask.strides.begin(), 0);
    }
    const size_t rank = mask.dims.size();
    tile_.mask_row = mask.dims[rank - 2] == 1 ? 0 : mask.strides[rank - 2];
    tile_.mask_column = mask.dims[rank - 1] == 1 ? 0 : mask.strides[rank - 1];
    tile_.mask_kind = mask.dtype == DType::Bool ? 1 : mask.dtype == DType::F32 ? 2 : 3;
    mask_item_ = item_size(mask.dtype);
    mask_offsets_ = head_offsets(mask, batch, false);
  }

  void select_versions() {
    if (isa() == Isa::Avx512) {
      const AttentionVersion version = attention_avx512(type_, has_bf16_dot());
      attend_ = version.attend;
      pack_keys_ = version.pack_keys;
      pack_values_ = version.pack_values;
      query_block_ = version.query_block;
      return;
    }
    if (type_ == DType::F32) {
      attend_ = select<Attend<float>, const AttentionTile&>(isa());
      pack_keys_ = select<PackKeys<float>, const void*, int64_t, int64_t, int64_t, float*>(isa());
      pack_values_ =
          select<PackValues<float>, const void*, int64_t, int64_t, int64_t, float*>(isa());
    } else {
      attend_ = select<Attend<BFloat16>, const AttentionTile&>(isa());
      pack_keys_ =
          select<PackKeys<BFloat16>, const void*, int64_t, int64_t, int64_t, float*>(isa());
      pack_values_ =
          select<PackValues<BFloat16>, const void*, int64_t, int64_t, int64_t, float*>(isa());
    }
  }

  using Pack = void (*)(const void*, int64_t, int64_t, int64_t, float*);
  DType type_;
  AttentionTile tile_{};
  int64_t rows_ = 0, key_row_ = 0, value_row_ = 0;
  size_t mask_item_ = 1;
  int64_t threads_ = 1, query_block_ = kQueryBlock;
  std::vector<int64_t> query_offsets_, key_offsets_, value_offsets_, out_offsets_, mask_offsets_;
  void (*attend_)(const AttentionTile&) = nullptr;
  Pack pack_keys_ = nullptr, pack_values_ = nullptr;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  const DType type = request.inputs[0].dtype;
  if (type != DType::F32 && type != DType::BF16) {
    unsupported(request, "takes f32 and bf16, not ", name(type));
  }
  if (is_present(request.inputs, 3)) {
    const DType mask = request.inputs[3].dtype;
    if (mask != DType::Bool && mask != DType::F32 && mask != DType::BF16) {
      unsupported(request, "takes masks of bool, f32 and bf16, not ", name(mask));
    }
  }
  for (const auto* operands : {&request.inputs, &request.outputs}) {
    for (size_t i = 0; i < operands->size() && i < 3; ++i) {
      const Operand& operand = (*operands)[i];
      if (operand.dims.back() > 1 && operand.strides.back() != 1) {
        unsupported(request, "features of every operand must be neighbours in memory");
      }
    }
  }
  return std::make_unique<Attention>(request);
}

constexpr KernelDef kKernels[] = {{"scaled_dot_product_attention", prepare}};

}  // namespace

extern const KernelFile k_kernels_scaled_dot_product_attention = kKernels;

}  // namespace regraft::cpu
