#include "backends/cpu/run/packed_layout.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <numeric>

#include "backends/cpu/run/onednn.h"
#include "base/fail.h"

namespace regraft::cpu {
namespace {

constexpr std::string_view kPrefix = "blocked ";

[[noreturn]] void corrupt(std::string_view id) {
  base::fail("backends", ErrorCode::Corrupt, "cpu: not a packing: '", id, "'");
}

std::string list(const Dims& values) {
  std::string text;
  for (const int64_t value : values) {
    if (!text.empty()) text += ',';
    text += std::to_string(value);
  }
  return text;
}

// Fields of an id: "key=1,2,3" separated by spaces.
std::map<std::string_view, std::string_view> fields(std::string_view id) {
  std::map<std::string_view, std::string_view> out;
  std::string_view rest = id.substr(kPrefix.size());
  while (!rest.empty()) {
    const std::string_view field = rest.substr(0, rest.find(' '));
    const size_t equals = field.find('=');
    if (equals == std::string_view::npos) corrupt(id);
    out[field.substr(0, equals)] = field.substr(equals + 1);
    rest.remove_prefix(std::min(rest.size(), field.size() + 1));
  }
  return out;
}

Dims numbers(std::string_view id, std::string_view text) {
  Dims out;
  while (!text.empty()) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // The limit keeps every product below from overflowing.
    if (error != std::errc{} || value < 0 || value > (int64_t{1} << 40)) corrupt(id);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (!text.empty() && text.front() != ',') corrupt(id);
    if (!text.empty()) text.remove_prefix(1);
    out.push_back(value);
  }
  return out;
}

}  // namespace

WeightView WeightView::identity(size_t rank) {
  WeightView view;
  view.order.resize(rank);
  std::iota(view.order.begin(), view.order.end(), 0);
  return view;
}

Dims WeightView::dims(const Dims& logical) const {
  Dims split = logical;
  if (groups > 1) {
    split[0] = logical[0] / groups;
    split.insert(split.begin(), groups);
  }
  Dims out;
  for (const int64_t i : order)
    out.push_back(split[static_cast<size_t>(i)]);
  return out;
}

Dims WeightView::strides(const Dims& logical, const Dims& strides) const {
  Dims split = strides;
  if (groups > 1) split.insert(split.begin(), strides[0] * (logical[0] / groups));
  Dims out;
  for (const int64_t i : order)
    out.push_back(split[static_cast<size_t>(i)]);
  return out;
}

PackedLayout::PackedLayout(const dnnl::memory::desc& descriptor, WeightView view,
                           const Dims& logical)
    : dtype_(descriptor.get_data_type() == dnnl::memory::data_type::bf16 ? DType::BF16
                                                                         : DType::F32),
      logical_(logical),
      view_(std::move(view)),
      dims_(descriptor.get_dims()),
      padded_(descriptor.get_padded_dims()),
      strides_(descriptor.get_strides()),
      block_dims_(descriptor.get_inner_idxs()),
      block_sizes_(descriptor.get_inner_blks()) {}

bool PackedLayout::is_id(std::string_view id) { return id.substr(0, kPrefix.size()) == kPrefix; }

PackedLayout PackedLayout::parse(std::string_view id) {
  if (!is_id(id)) corrupt(id);
  PackedLayout layout;
  const auto fields_of_id = fields(id);
  const auto get = [&](std::string_view key) {
    const auto at = fields_of_id.find(key);
    if (at == fields_of_id.end()) corrupt(id);
    return at->second;
  };
  const std::optional<DType> dtype = try_parse_dtype(get("dtype"));
  if (dtype != DType::F32 && dtype != DType::BF16) corrupt(id);
  layout.dtype_ = *dtype;
  layout.logical_ = numbers(id, get("logical"));
  const Dims groups = numbers(id, get("groups"));
  if (groups.size() != 1 || groups[0] < 1 || layout.logical_.empty()) corrupt(id);
  layout.view_.groups = groups[0];
  layout.view_.order = numbers(id, get("order"));
  layout.padded_ = numbers(id, get("padded"));
  layout.strides_ = numbers(id, get("strides"));
  layout.block_dims_ = numbers(id, get("block_dims"));
  layout.block_sizes_ = numbers(id, get("block_sizes"));
  const size_t rank = layout.logical_.size() + (groups[0] > 1 ? 1 : 0);
  Dims sorted = layout.view_.order;
  std::sort(sorted.begin(), sorted.end());
  if (sorted != WeightView::identity(rank).order || layout.logical_[0] % groups[0] != 0) {
    corrupt(id);
  }
  layout.dims_ = layout.view_.dims(layout.logical_);
  layout.check();
  return layout;
}

// What keeps packing inside bytes(): an id may come from a file.
void PackedLayout::check() const {
  const size_t rank = dims_.size();
  bool good = padded_.size() == rank && strides_.size() == rank &&
              block_dims_.size() == block_sizes_.size();
  Dims blocks(rank, 1);
  for (size_t i = 0; good && i < block_dims_.size(); ++i) {
    good = block_dims_[i] < static_cast<int64_t>(rank) && block_sizes_[i] >= 1 &&
           block_sizes_[i] <= 4096;
    if (good) blocks[static_cast<size_t>(block_dims_[i])] *= block_sizes_[i];
  }
  for (size_t d = 0; good && d < rank; ++d) {
    good = padded_[d] >= dims_[d] && blocks[d] <= (1 << 20) && padded_[d] % blocks[d] == 0 &&
           padded_[d] - dims_[d] < blocks[d];
  }
  if (!good) corrupt(id());
  // Bounded factors, so that bytes() cannot overflow.
  for (size_t d = 0; d < rank; ++d) {
    if (strides_[d] != 0 && padded_[d] > (int64_t{1} << 36) / strides_[d]) corrupt(id());
  }
  int64_t block = 1;
  for (const int64_t size : block_sizes_) {
    block *= size;
    if (block > (1 << 24)) corrupt(id());
  }
}

std::string PackedLayout::id() const {
  return base::cat(kPrefix, "dtype=", name(dtype_), " logical=", list(logical_),
                   " groups=", view_.groups, " order=", list(view_.order),
                   " padded=", list(padded_), " strides=", list(strides_),
                   " block_dims=", list(block_dims_), " block_sizes=", list(block_sizes_));
}

size_t PackedLayout::bytes() const {
  Dims blocks(dims_.size(), 1);
  int64_t last = 1;
  for (size_t i = 0; i < block_dims_.size(); ++i) {
    blocks[static_cast<size_t>(block_dims_[i])] *= block_sizes_[i];
    last *= block_sizes_[i];
  }
  last -= 1;
  for (size_t d = 0; d < dims_.size(); ++d) {
    if (padded_[d] == 0) return 0;
    last += (padded_[d] / blocks[d] - 1) * strides_[d];
  }
  return static_cast<size_t>(last + 1) * item_size(dtype_);
}

std::vector<int64_t> PackedLayout::offsets(size_t d) const {
  std::vector<int64_t> out(static_cast<size_t>(padded_[d]), 0);
  int64_t below = 1;   // Elements of the blocks inside the current one.
  int64_t period = 1;  // Product of the blocks of dimension d so far.
  for (size_t i = block_dims_.size(); i-- > 0;) {
    const int64_t size = block_sizes_[i];
    if (block_dims_[i] == static_cast<int64_t>(d)) {
      for (int64_t x = 0; x < padded_[d]; ++x) {
        out[static_cast<size_t>(x)] += x / period % size * below;
      }
      period *= size;
    }
    below *= size;
  }
  for (int64_t x = 0; x < padded_[d]; ++x) {
    out[static_cast<size_t>(x)] += x / period * strides_[d];
  }
  return out;
}

dnnl::memory::desc PackedLayout::descriptor() const {
  const auto type = *onednn_type(dtype_);
  if (block_dims_.empty()) return {dims_, type, strides_};
  // oneDNN makes blocked descriptors from tags only. Tags that matched before are tried first.
  static std::mutex mutex;
  static std::vector<int> known;
  const auto matches = [&](int tag) -> std::optional<dnnl::memory::desc> {
    dnnl_memory_desc_t raw = nullptr;
    if (dnnl_memory_desc_create_with_tag(&raw, static_cast<int>(dims_.size()), dims_.data(),
                                         static_cast<dnnl_data_type_t>(type),
                                         static_cast<dnnl_format_tag_t>(tag)) != dnnl_success) {
      return std::nullopt;
    }
    dnnl::memory::desc made(raw);
    if (made.get_padded_dims() == padded_ && made.get_strides() == strides_ &&
        made.get_inner_idxs() == block_dims_ && made.get_inner_blks() == block_sizes_) {
      return made;
    }
    return std::nullopt;
  };
  const std::lock_guard lock(mutex);
  for (const int tag : known) {
    if (auto made = matches(tag)) return *made;
  }
  for (int tag = dnnl_format_tag_any + 1; tag < dnnl_format_tag_last; ++tag) {
    if (auto made = matches(tag)) {
      known.push_back(tag);
      return *made;
    }
  }
  base::fail("backends", ErrorCode::Unsupported, "cpu: this build cannot read the packing '", id(),
             "'; export the realised plan again");
}

}  // namespace regraft::cpu
