#include "backends/cuda/run/activity_laps.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <utility>
#include <vector>

#include "backends/cuda/run/api/cupti.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

constexpr uint32_t kWork[] = {kCuptiKernel, kCuptiMemcpy, kCuptiMemset};
// Correlations come with the records of calls alone.
constexpr uint32_t kKinds[] = {kCuptiDriver, kCuptiRuntime, kCuptiExternalCorrelation,
                               kCuptiKernel, kCuptiMemcpy,  kCuptiMemset};

// What CUPTI has handed over. Its callbacks come from any thread and have no argument of ours.
struct Records {
  std::mutex mutex;
  std::map<uint32_t, uint64_t> laps;       // Correlation id to lap.
  std::map<uint32_t, uint64_t> durations;  // In nanoseconds, by correlation id.
  std::set<const uint8_t*> buffers;        // That CUPTI has of ours.
  bool is_incomplete = false;

  static Records& all() {
    static Records& records = *new Records;
    return records;
  }

  void add(const CuptiRecord& record) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&record);
    const auto read = [&](size_t at, auto& value) {
      std::memcpy(&value, bytes + at, sizeof value);
    };
    if (record.kind == kCuptiExternalCorrelation) {
      CuptiCorrelation correlation{};
      read(0, correlation);
      if (correlation.external_kind == kCuptiCustom) {
        laps[correlation.correlation_id] = correlation.external_id;
      }
    }
    if (std::find(std::begin(kWork), std::end(kWork), record.kind) == std::end(kWork)) return;
    uint64_t start = 0, end = 0;
    uint32_t id = 0;
    read(kCuptiStart, start);
    read(kCuptiEnd, end);
    read(record.kind == kCuptiKernel ? kCuptiKernelCorrelation : kCuptiCopyCorrelation, id);
    if (end > start) durations[id] += end - start;
  }
};

// Nothing may leave these: their callers are CUPTI's. Without memory they drop records.
void request(uint8_t** buffer, size_t* bytes, size_t* most_records) noexcept {
  constexpr size_t kBytes = size_t{1} << 20, kAlignment = 8;
  *bytes = 0;
  *most_records = 0;  // As many as fit.
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kBytes));
  if (*buffer == nullptr) return;
  Records& records = Records::all();
  try {
    const std::lock_guard lock(records.mutex);
    records.buffers.insert(*buffer);
    *bytes = kBytes;
  } catch (const std::bad_alloc&) {
    std::free(*buffer);
    *buffer = nullptr;
  }
}

// Buffers that another user of CUPTI has given stay theirs.
void complete(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer, size_t /*bytes*/,
              size_t valid_bytes) noexcept {
  Records& records = Records::all();
  const std::lock_guard lock(records.mutex);
  if (records.buffers.erase(buffer) == 0) return;
  try {
    CuptiRecord* record = nullptr;
    while (cupti().cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == 0)
      records.add(*record);
  } catch (const std::bad_alloc&) {
    records.is_incomplete = true;
  }
  std::free(buffer);
}

class ActivityLaps final : public backends::Laps {
 public:
  ActivityLaps(size_t points, std::unique_lock<std::mutex> lock)
      : points_(points), lock_(std::move(lock)) {}
  ~ActivityLaps() override {
    pop();
    for (const uint32_t kind : kKinds)
      cupti().cuptiActivityDisable(kind);
    cupti().cuptiActivityFlushAll(kCuptiForced);
    const std::lock_guard lock(Records::all().mutex);
    Records::all().laps.clear();
    Records::all().durations.clear();
  }
  ActivityLaps(const ActivityLaps&) = delete;
  ActivityLaps& operator=(const ActivityLaps&) = delete;

  bool start() const {
    if (cupti().cuptiActivityRegisterCallbacks(&request, &complete) != 0) return false;
    return std::all_of(std::begin(kKinds), std::end(kKinds),
                       [](uint32_t kind) { return cupti().cuptiActivityEnable(kind) == 0; });
  }

  bool may_be_recorded() const override { return false; }
  std::string_view clock() const override { return "CUPTI"; }

  void mark(size_t point, backends::Stream /*stream*/) override {
    pop();
    if (point + 1 >= points_) return;
    is_pushed_ = cupti().cuptiActivityPushExternalCorrelationId(kCuptiCustom, point) == 0;
  }

  std::vector<double> seconds() const override {
    cupti().cuptiActivityFlushAll(kCuptiForced);
    Records& records = Records::all();
    const std::lock_guard lock(records.mutex);
    std::vector<double> out(points_ - 1, 0);
    if (std::exchange(records.is_incomplete, false)) records.laps.clear();
    for (const auto& [id, lap] : records.laps) {
      const auto duration = records.durations.find(id);
      if (duration != records.durations.end() && lap < out.size()) {
        out[lap] += 1e-9 * static_cast<double>(duration->second);
      }
    }
    records.laps.clear();
    records.durations.clear();
    return out;
  }

 private:
  void pop() {
    uint64_t last = 0;
    if (is_pushed_) cupti().cuptiActivityPopExternalCorrelationId(kCuptiCustom, &last);
    is_pushed_ = false;
  }

  size_t points_;
  std::unique_lock<std::mutex> lock_;  // One at a time.
  bool is_pushed_ = false;
};

}  // namespace

std::unique_ptr<backends::Laps> try_make_activity_laps(size_t points) {
  static std::mutex& mutex = *new std::mutex;
  std::unique_lock lock(mutex, std::try_to_lock);
  if (!lock.owns_lock() || points == 0) return nullptr;
  try {
    auto laps = std::make_unique<ActivityLaps>(points, std::move(lock));
    return laps->start() ? std::move(laps) : nullptr;
  } catch (const Error&) {
    return nullptr;  // No such library.
  }
}

}  // namespace regraft::cuda
