#include "backends/cpu/run/onednn.h"

#include <algorithm>
#include <numeric>

#include "base/parallel.h"
#include "base/text.h"

#ifndef REGRAFT_NO_OPENMP
#include <omp.h>
#endif

namespace regraft::cpu {
namespace {

// Streams of a CPU engine only carry the engine; one per thread keeps them free of sharing.
dnnl_stream_t stream() {
  thread_local const dnnl::stream stream(onednn_engine());
  return stream.get();
}

// Order of the dimensions from outermost to innermost, sizes of 1 first.
std::vector<size_t> memory_order(const Dims& dims, const Dims& strides) {
  std::vector<size_t> order(dims.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if ((dims[a] == 1) != (dims[b] == 1)) return dims[a] == 1;
    return dims[a] != 1 && strides[a] > strides[b];
  });
  return order;
}

}  // namespace

const dnnl::engine& onednn_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

std::string onednn_version() {
  const dnnl_version_t* const version = dnnl_version();
  return base::cat("oneDNN ", version->major, ".", version->minor, ".", version->patch, " ",
                   version->hash);
}

std::optional<dnnl::memory::data_type> onednn_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return dnnl::memory::data_type::f32;
    case DType::BF16:
      return dnnl::memory::data_type::bf16;
    default:
      return std::nullopt;
  }
}

dnnl::memory::desc strided_desc(dnnl::memory::data_type type, const Dims& dims, Dims strides) {
  if (is_channels_last(dims, strides)) {
    strides = channels_last_strides(dims);
  } else {
    // A stride of a size-1 dimension: what the dimensions inside it span.
    int64_t span = 1;
    const std::vector<size_t> order = memory_order(dims, strides);
    for (auto at = order.rbegin(); at != order.rend(); ++at) {
      if (dims[*at] == 1) {
        strides[*at] = span;
      } else {
        span = std::max(span, strides[*at] * dims[*at]);
      }
    }
  }
  return {dims, type, strides};
}

Dims channels_last_strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  if (dims.size() < 2) return strides;
  int64_t stride = dims[1];
  for (size_t i = dims.size(); i-- > 2;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  strides[0] = stride;
  strides[1] = 1;
  return strides;
}

bool is_channels_last(const Dims& dims, const Dims& strides) {
  if (dims.size() < 3) return false;
  const Dims wanted = channels_last_strides(dims);
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1 && strides[i] != wanted[i]) return false;
  }
  return true;
}

dnnl::primitive_attr user_scratchpad_attr() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

#ifdef REGRAFT_NO_OPENMP
OnednnTeam::OnednnTeam(int) : saved_(0) {}
OnednnTeam::~OnednnTeam() = default;
#else
OnednnTeam::OnednnTeam(int threads) : saved_(omp_get_max_threads()) {
  if (saved_ != threads) omp_set_num_threads(threads);
}
OnednnTeam::~OnednnTeam() {
  if (omp_get_max_threads() != saved_) omp_set_num_threads(saved_);
}
#endif

struct OnednnCall::ArgumentSet {
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
};

struct OnednnCall::Pool {
  std::vector<Argument> descriptors;  // The scratchpad last.
  std::mutex mutex;
  std::vector<std::unique_ptr<ArgumentSet>> free;

  std::unique_ptr<ArgumentSet> take() {
    {
      const std::lock_guard lock(mutex);
      if (!free.empty()) {
        std::unique_ptr<ArgumentSet> set = std::move(free.back());
        free.pop_back();
        return set;
      }
    }
    auto set = std::make_unique<ArgumentSet>();
    for (const auto& [id, descriptor] : descriptors) {
      set->memories.emplace_back(descriptor, onednn_engine(), static_cast<void*>(nullptr));
      set->arguments.push_back({id, set->memories.back().get()});
    }
    return set;
  }
  void give(std::unique_ptr<ArgumentSet> set) {
    const std::lock_guard lock(mutex);
    free.push_back(std::move(set));
  }
};

OnednnCall::OnednnCall(const dnnl::primitive& primitive, std::vector<Argument> arguments,
                       const dnnl::memory::desc& scratchpad)
    : primitive_(primitive),
      pool_(std::make_shared<Pool>()),
      scratchpad_bytes_(scratchpad.get_size()),
      threads_(base::thread_count()) {
  pool_->descriptors = std::move(arguments);
  pool_->descriptors.emplace_back(DNNL_ARG_SCRATCHPAD, scratchpad);
  pool_->give(pool_->take());
}

void OnednnCall::run(std::span<void* const> addresses, void* scratchpad) const {
  std::unique_ptr<ArgumentSet> set = pool_->take();
  for (size_t i = 0; i < addresses.size(); ++i)
    set->memories[i].set_data_handle(addresses[i]);
  set->memories.back().set_data_handle(scratchpad);
  const OnednnTeam team(threads_);
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), stream(), static_cast<int>(set->arguments.size()), set->arguments.data());
  pool_->give(std::move(set));
  if (status != dnnl_success) {
    base::fail("backends", ErrorCode::Internal, "oneDNN: executing a primitive failed with status ",
               static_cast<int>(status));
  }
}

}  // namespace regraft::cpu
