// Where a transaction keeps the values of parameters.
#include "refit/transaction.h"

namespace regraft::refit {

Transaction::Keeping Transaction::keeping_of(size_t p) const {
  Retain policy = core_.options().retain;
  if (policy == Retain::None) {
    // No checkpoint will bring an optional parameter again.
    if (!core_.plan().parameters[p].optional) return Keeping::Nowhere;
    policy = Retain::Auto;
  }
  for (const int32_t s : core_.copies_of(p)) {
    if (bank_->slots[s]->writable != nullptr) return Keeping::InSlot;
  }
  // On a device, what a file brought is kept where the file is mapped, and what the device has
  // where its kernels can read it.
  const SourceTensor& tensor = *staged_->tensors[p];
  const bool on_host = core_.device().is_host();
  const bool is_as_it_is = staged_->readable[p].data != nullptr || staged_->brought[p];
  const bool in_file = tensor.stable && tensor.terms.empty() && is_as_it_is;
  if (in_file && policy == Retain::Auto) return Keeping::InFile;
  return policy == Retain::Host && !on_host ? Keeping::OnHost : Keeping::InBlock;
}

// Memory for the values that are kept in memory of their own.
void Transaction::place_retained() {
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!given_[p] || keeping_of(p) != Keeping::InBlock) continue;
    retained_[p] = converted_[p] ? converted_[p]
                   : p < own_parameters_.size() && own_parameters_[p]
                       ? std::move(own_parameters_[p])
                       : core_.pool()->take(core_.parameter_spec(p).bytes());
  }
}

// Where the given parameter's value is kept.
void Transaction::retain(size_t p) {
  const Keeping keeping = keeping_of(p);
  engine::ParameterValue& kept = bank_->parameters[p];
  kept = {};
  kept.on_host = core_.device().is_host();
  if (keeping == Keeping::Nowhere) return;
  const size_t bytes = core_.parameter_spec(p).bytes();
  kept.bytes = bytes;
  if (keeping == Keeping::InBlock) {
    kept.data = retained_[p]->data;
    kept.block = retained_[p];
  } else if (keeping == Keeping::InFile) {
    const SourceTensor& tensor = *staged_->tensors[p];
    kept.data = tensor.view.as<std::byte>();
    kept.owner = tensor.owner;
    kept.is_mapped = true;
    kept.on_host = kept.on_host || !core_.device().holds(kept.data);
  } else if (keeping == Keeping::OnHost) {
    const auto memory = engine::allocate(bytes, core_.options().memory_limit);
    core_.device().copy(memory.get(), values_[p]->data, bytes, core_.device().work_stream());
    kept.data = memory.get();
    kept.owner = memory;
    kept.on_host = true;
  } else {
    for (const int32_t s : core_.copies_of(p)) {
      if (bank_->slots[s]->writable == nullptr) continue;
      // In place, the values move into the memory of the base's slot.
      kept.data = options_.in_place && base_ ? base_->slots[s]->data : bank_->slots[s]->data;
      kept.is_constant = true;
      return;
    }
  }
}

void Transaction::retain_parameters() {
  bank_->parameters.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    if (given_[p]) {
      retain(p);
    } else if (base_) {
      bank_->parameters[p] = base_->parameters[p];
    }
  }
}

}  // namespace regraft::refit
