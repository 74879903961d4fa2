#include "backends/cuda/run/work_table.h"

#include "base/fail.h"

namespace regraft::cuda {

void WorkTable::add(int64_t blocks, std::span<const uint64_t> words) {
  if (blocks <= 0) return;
  entries_.push_back(static_cast<uint32_t>(blocks_));
  entries_.push_back(static_cast<uint32_t>(words_.size()));
  words_.insert(words_.end(), words.begin(), words.end());
  blocks_ += static_cast<uint64_t>(blocks);
  constexpr uint64_t kMostBlocks = 0x7fffffff;
  if (blocks_ > kMostBlocks || words_.size() > kMostBlocks) {
    base::fail("cuda", ErrorCode::Unsupported, "too much work for one launch");
  }
}

std::vector<std::byte> WorkTable::bytes_of(std::span<const WorkTable> tables) {
  std::vector<std::byte> bytes;
  const auto append = [&](const auto& list) {
    const auto* first = reinterpret_cast<const std::byte*>(list.data());
    bytes.insert(bytes.end(), first, first + list.size() * sizeof(list[0]));
  };
  for (const WorkTable& table : tables)
    append(table.words_);
  for (const WorkTable& table : tables)
    append(table.entries_);
  return bytes;
}

void WorkTable::enqueue(CUfunction function, std::span<const WorkTable> tables,
                        const std::byte* uploaded, CUstream stream, bool early) {
  LaunchAttribute attribute{.id = kLaunchEarly, .value = {1}};
  LaunchConfig config{.block = {kThreads, 1, 1}, .stream = stream, .attributes = &attribute};
  size_t entries = 0, words = 0;
  for (const WorkTable& table : tables)
    entries += table.words_.size() * sizeof(uint64_t);
  for (const WorkTable& table : tables) {
    if (table.blocks_ == 0) continue;
    uint64_t arguments[] = {reinterpret_cast<uint64_t>(uploaded + entries),
                            reinterpret_cast<uint64_t>(uploaded + words),
                            table.entries_.size() / 2};
    void* parameters[] = {arguments};
    config.grid[0] = static_cast<unsigned>(table.blocks_);
    check(driver().cuLaunchKernelEx(&config, function, parameters, nullptr), "launch a kernel");
    config.attribute_count = early ? 1 : 0;
    words += table.words_.size() * sizeof(uint64_t);
    entries += table.entries_.size() * sizeof(uint32_t);
  }
}

void WorkTable::launch(CudaDevice& device, CUfunction function, std::span<const WorkTable> tables,
                       Place place) {
  const std::vector<std::byte> bytes = bytes_of(tables);
  if (bytes.empty() || function == nullptr) return;
  const auto use = [&](const std::byte* placed) {
    enqueue(function, tables, placed, as_stream(device.work_stream()), device.launches_early());
  };
  if (place == Place::Pinned) {
    device.with_pinned_table(bytes, use);
  } else {
    device.with_table(bytes, use);
  }
}

RepeatedTables::RepeatedTables(CudaDevice& device, CUfunction function,
                               std::vector<WorkTable> tables)
    : function_(function), tables_(std::move(tables)), early_(device.launches_early()) {
  const std::vector<std::byte> bytes = WorkTable::bytes_of(tables_);
  if (bytes.empty() || function_ == nullptr) return;
  uploaded_ = device.allocate(bytes.size());
  device.copy(uploaded_.get(), bytes.data(), bytes.size(), device.work_stream());
  device.synchronise(device.work_stream());
}

void RepeatedTables::launch(Stream stream) const {
  if (uploaded_ != nullptr)
    WorkTable::enqueue(function_, tables_, uploaded_.get(), as_stream(stream), early_);
}

}  // namespace regraft::cuda
