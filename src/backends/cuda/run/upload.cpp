#include "backends/cuda/run/upload.h"

#include <algorithm>
#include <vector>

#include "backends/cuda/run/copy_blocks.h"
#include "backends/cuda/run/pinned_pieces.h"
#include "base/log.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

// In any order.
void copy_batch(std::span<const backends::BlockCopy> blocks, CUstream stream) {
  std::vector<CUdeviceptr> to, from;
  std::vector<size_t> bytes;
  for (const backends::BlockCopy& block : blocks) {
    to.push_back(as_pointer(block.to));
    from.push_back(as_pointer(block.from));
    bytes.push_back(block.bytes);
  }
  CopyAttributes attributes{.source_order = kCopyInStreamOrder};
  size_t first = 0;
  check(driver().cuMemcpyBatchAsync(to.data(), from.data(), bytes.data(), to.size(), &attributes,
                                    &first, 1, stream),
        "copy memory");
}

bool is_large(const backends::BlockCopy& block) {
  return block.bytes > kSmallUpload && is_pinned(block.from);
}

}  // namespace

CudaUpload::CudaUpload(CudaDevice& device) : device_(device) {}

CudaUpload::~CudaUpload() {
  try {
    finish();
  } catch (const Error& error) {
    // Whoever left before finish() says what went wrong.
    base::log(LogLevel::Info, error.what());
  }
}

void CudaUpload::finish() {
  if (join_ == nullptr) return;
  join_->record(device_.copy_stream());
  join_->order(device_.work_stream());
  join_ = nullptr;
}

// Where copies go, work of the past may be going on.
void CudaUpload::begin_copies() {
  if (fork_ == nullptr) fork_ = device_.make_event();
  if (join_ == nullptr) join_ = device_.make_event();
  fork_->record(device_.work_stream());
  fork_->order(device_.copy_stream());
}

// The bus is busy with the largest piece while the host asks where the others lie, and with all
// large ones while it does the rest. Pageable memory keeps its order, in which neighbours are one
// copy.
void CudaUpload::add(std::span<const backends::BlockCopy> blocks) {
  if (blocks.empty()) return;
  const auto largest = std::ranges::max_element(blocks, {}, &backends::BlockCopy::bytes);
  const bool is_begun = is_large(*largest);
  if (is_begun) {
    begin_copies();
    device_.copy(largest->to, largest->from, largest->bytes, device_.copy_stream());
  }
  std::vector<backends::BlockCopy> large, rest;
  for (auto block = blocks.begin(); block != blocks.end(); ++block) {
    if (is_begun && block == largest) continue;
    (is_large(*block) ? large : rest).push_back(*block);
  }
  if (!large.empty()) {
    if (!is_begun) begin_copies();
    copy_batch(large, as_stream(device_.copy_stream()));
  }
  const Uploads uploads = sort_uploads(std::move(rest));
  if (!uploads.read.empty()) read_blocks(device_, uploads.read);
  device_.upload_in_copies(uploads.copied);
}

}  // namespace regraft::cuda
