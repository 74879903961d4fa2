// How a transaction brings sources to where kernels read them, in the declared dtype and row-major.
#include "refit/transaction.h"
#include "tensor/copy.h"

namespace regraft::refit {

// Sources that kernels cannot read as they are: on the host, strided, of another dtype, misaligned,
// or with adapters to be added.
void Transaction::convert_sources() {
  values_.resize(given_.size());
  own_values_.resize(given_.size());
  converted_.resize(given_.size());
  place_staging();
  uploading_.begin();
  const auto upload = core_.device().begin_upload();
  // Large ones first: they are on their way while the host looks at the others.
  constexpr size_t kLarge = size_t{1} << 20;
  for (const bool large : {true, false}) {
    std::vector<base::BlockCopy> uploads;
    for (size_t p = 0; p < given_.size(); ++p) {
      if (!given_[p] || (staged_->tensors[p]->view.bytes() >= kLarge) != large) continue;
      if (staged_->readable[p].data != nullptr) {
        values_[p] = &staged_->readable[p];
      } else {
        convert_source(p, uploads);
      }
    }
    if (!uploads.empty()) upload->add(uploads);
    uploads_.insert(uploads_.end(), uploads.begin(), uploads.end());
  }
  upload->finish();
}

// The slot that is the parameter as it is, and that memory which it was brought to can become; -1:
// none, or several.
int32_t Transaction::constant_of(size_t p) const {
  const std::vector<int32_t>& copies = core_.copies_of(p);
  const bool is_one = copies.size() == 1 && !options_.in_place && !core_.device().is_host();
  return is_one ? copies[0] : -1;
}

// Whether the evaluation alone needs what is brought of the parameter.
bool Transaction::is_staged(size_t p) const {
  if (!given_[p] || !staged_->brought[p] || constant_of(p) >= 0) return false;
  // In place, what is kept goes where it was kept, once everything is computed.
  return options_.in_place || !core_.copies_of(p).empty() || keeping_of(p) != Keeping::InBlock;
}

// Parts of a model would each want a piece of its own size, which the pool then keeps.
void Transaction::place_staging() {
  constexpr size_t kAlignment = 256;
  staged_at_.assign(given_.size(), nullptr);
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!given_[p] && !core_.plan().parameters[p].optional) return;
  }
  std::vector<size_t> offsets(given_.size(), SIZE_MAX);
  size_t bytes = 0;
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!is_staged(p)) continue;
    offsets[p] = bytes;
    bytes += (core_.parameter_spec(p).bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  const size_t limit = core_.options().memory_limit;
  if (bytes == 0 || (limit > 0 && bytes > limit)) return;
  staging_ = core_.pool()->take(bytes);
  for (size_t p = 0; p < given_.size(); ++p) {
    if (offsets[p] != SIZE_MAX) staged_at_[p] = staging_->writable + offsets[p];
  }
}

// Its own in the generation before, if that is nobody's any more.
std::shared_ptr<engine::Block> Transaction::take_memory_for(size_t p) {
  const size_t bytes = core_.parameter_spec(p).bytes();
  const int32_t s = constant_of(p);
  if (s >= 0 && !own_slots_.empty() && own_slots_[s] && own_slots_[s]->bytes == bytes)
    return std::move(own_slots_[s]);
  if (!own_parameters_.empty() && own_parameters_[p] && own_parameters_[p]->bytes == bytes)
    return std::move(own_parameters_[p]);
  return core_.pool()->take(bytes);
}

void Transaction::convert_source(size_t p, std::vector<base::BlockCopy>& uploads) {
  backends::Device& device = core_.device();
  const SourceTensor& tensor = *staged_->tensors[p];
  const TensorView& view = tensor.view;
  TensorView& value = own_values_[p];
  value = core_.parameter_spec(p);
  values_[p] = &value;
  if (staged_at_[p] != nullptr) {
    value.data = staged_at_[p];
    uploads.push_back({staged_at_[p], view.as<std::byte>(), value.bytes()});
    return;
  }
  converted_[p] = take_memory_for(p);
  value.data = converted_[p]->data;
  if (view.count() == 0) return;
  const MutableTensorView to(converted_[p]->writable, value.dtype, value.dims);
  if (!tensor.terms.empty() && is_readable(core_, memory_, p, view)) {
    merges_.add(view, to.mutable_data(), tensor.terms);
    return;
  }
  if (device.is_host()) {
    copy(view, to);
  } else if (!staged_->brought[p] && memory_.holds(view.data)) {
    device.convert(view, to, device.work_stream());
  } else {
    uploads.push_back({converted_[p]->writable, bytes_on_host(view, to), to.bytes()});
  }
  if (!tensor.terms.empty()) merges_.add(value, to.mutable_data(), tensor.terms);
}

// The elements of a tensor of the host as `like` has them: its own memory, or a copy in kept_.
const std::byte* Transaction::bytes_on_host(const TensorView& view, const TensorView& like) {
  if (view.is_contiguous() && view.dtype == like.dtype) return view.as<std::byte>();
  kept_.emplace_back(like.dtype, like.dims);
  copy(view, kept_.back().mutable_view());
  return kept_.back().view().as<std::byte>();
}

}  // namespace regraft::refit
