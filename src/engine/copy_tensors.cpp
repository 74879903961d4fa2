#include "backends/known_memory.h"
#include "backends/run_backend.h"
#include "base/fail.h"
#include "base/typed_errors.h"
#include "regraft/engine.h"

namespace regraft {
namespace {

// The pieces that one source is copied in.
struct Copies {
  std::vector<base::BlockCopy> uploads, moves;
  std::vector<Tensor> row_major;  // Of strided tensors of the host.
};

void add(backends::Device& device, backends::KnownMemory& memory, const TensorView& view,
         std::byte* to, Copies& copies) {
  const bool is_there = memory.holds(view.data);
  if (is_there && !view.is_contiguous()) {
    device.convert(view, {to, view.dtype, view.dims}, device.work_stream());
    return;
  }
  const auto* from = view.as<std::byte>();
  if (!view.is_contiguous()) {
    copies.row_major.push_back(Tensor::copy_of(view));
    from = copies.row_major.back().view().as<std::byte>();
  }
  (is_there ? copies.moves : copies.uploads).push_back({to, from, view.bytes()});
}

}  // namespace

void copy_tensors(std::span<const TensorView> tensors, const std::string& device_name,
                  std::span<void* const> to, void* stream) {
  base::typed_errors("engine", [&] {
    if (tensors.size() != to.size()) {
      base::fail("engine", ErrorCode::InvalidArgument, "copy_tensors: want ", tensors.size(),
                 " addresses, one for each tensor, have ", to.size());
    }
    const std::string backend = device_name.substr(0, device_name.find(':'));
    backends::Device& device = backends::run_backend(backend).device(device_name);
    const backends::UseDevice use(device);
    const auto ready = device.make_event();
    ready->record(stream);
    ready->order(device.work_stream());
    backends::KnownMemory memory(device);
    Copies copies;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].count() == 0) continue;
      add(device, memory, tensors[i], static_cast<std::byte*>(to[i]), copies);
    }
    device.upload(copies.uploads);
    if (!copies.moves.empty()) device.copy_blocks(copies.moves);
    device.synchronise(device.work_stream());
  });
}

}  // namespace regraft
