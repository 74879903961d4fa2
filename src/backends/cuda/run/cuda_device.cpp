#include "backends/cuda/run/cuda_device.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "backends/cuda/run/activity_laps.h"
#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/copy_blocks.h"
#include "backends/cuda/run/merge_lora.h"
#include "backends/cuda/run/non_finite.h"
#include "backends/cuda/run/strided_copy.h"
#include "backends/cuda/run/upload.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace regraft::cuda {
namespace {

// While alive, this thread records for the device itself: such a recording has all of its memory.
class RecordingHere {
 public:
  RecordingHere() { is_alive = true; }
  ~RecordingHere() { is_alive = false; }
  RecordingHere(const RecordingHere&) = delete;
  RecordingHere& operator=(const RecordingHere&) = delete;
  static inline thread_local bool is_alive = false;
};

// The driver refuses to allocate and free while a stream is captured, which may be one of the
// caller's: https://docs.nvidia.com/cuda/cuda-driver-api, cuThreadExchangeStreamCaptureMode.
class AllowMemory {
 public:
  AllowMemory() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  ~AllowMemory() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  AllowMemory(const AllowMemory&) = delete;
  AllowMemory& operator=(const AllowMemory&) = delete;

 private:
  int mode_ = kCaptureRelaxed;
};

class CudaEvent final : public backends::Event {
 public:
  explicit CudaEvent(const CudaDevice& device) : device_(device) {
    const backends::UseDevice use(device);
    check(driver().cuEventCreate(&event_, kEventDisableTiming), "create an event");
  }
  ~CudaEvent() override {
    device_.enter();
    driver().cuEventDestroy(event_);
    device_.leave();
  }
  void record(Stream stream) override {
    check(driver().cuEventRecord(event_, as_stream(stream)), "record an event");
  }
  void order(Stream stream) const override {
    check(driver().cuStreamWaitEvent(as_stream(stream), event_, 0), "wait for an event");
  }
  void wait() const override {
    const backends::UseDevice use(device_);
    check(driver().cuEventSynchronize(event_), "wait for the device");
  }

 private:
  const CudaDevice& device_;
  CUevent event_ = nullptr;
};

class CudaLaps final : public backends::Laps {
 public:
  CudaLaps(const CudaDevice& device, size_t points) : CudaLaps(device) {
    events_.assign(points, nullptr);
    const backends::UseDevice use(device);
    for (CUevent& event : events_)
      check(driver().cuEventCreate(&event, 0), "create an event");
  }
  ~CudaLaps() override {
    device_.enter();
    for (const CUevent event : events_) {
      if (event != nullptr) driver().cuEventDestroy(event);
    }
    device_.leave();
  }
  CudaLaps(const CudaLaps&) = delete;
  CudaLaps& operator=(const CudaLaps&) = delete;
  std::string_view clock() const override { return "CUDA events"; }
  // External: a recorded event is a node of the graph instead of an order within it.
  void mark(size_t point, Stream stream) override {
    const unsigned flags = device_.is_recording(stream) ? kEventRecordExternal : 0;
    check(driver().cuEventRecordWithFlags(events_[point], as_stream(stream), flags),
          "record an event");
  }
  std::vector<double> seconds() const override {
    std::vector<double> out;
    for (size_t i = 1; i < events_.size(); ++i) {
      float ms = 0;
      check(driver().cuEventElapsedTime(&ms, events_[i - 1], events_[i]), "read the time");
      out.push_back(1e-3 * double{ms});
    }
    return out;
  }

 private:
  // The destructor of an object that another constructor has made runs whatever comes after.
  explicit CudaLaps(const CudaDevice& device) : device_(device) {}

  const CudaDevice& device_;
  std::vector<CUevent> events_;
};

class Graph final : public backends::Recording {
 public:
  // `flags`: of cuGraphInstantiateWithFlags.
  Graph(const CudaDevice& device, CUgraph graph, unsigned long long flags) : device_(device) {
    const CUresult made = driver().cuGraphInstantiate(&exec_, graph, flags);
    driver().cuGraphDestroy(graph);
    check(made, "instantiate a CUDA graph");
  }
  ~Graph() override {
    device_.enter();
    driver().cuGraphExecDestroy(exec_);
    device_.leave();
  }
  void launch(Stream stream) const override {
    check(driver().cuGraphLaunch(exec_, as_stream(stream)), "launch a CUDA graph");
  }

 private:
  const CudaDevice& device_;
  CUgraphExec exec_ = nullptr;
};

// Folder of compiled kernels, shared by processes; empty: none.
std::filesystem::path kernel_folder() {
  const char* folder = std::getenv("REGRAFT_CUDA_KERNEL_CACHE");
  return folder == nullptr ? std::filesystem::path() : std::filesystem::path(folder);
}

std::string read_or_compile(const std::string& source, const std::string& arch,
                            const std::string& digest) {
  const std::filesystem::path folder = kernel_folder();
  const std::filesystem::path file = folder / (digest + ".cubin");
  std::error_code ignored;
  if (!folder.empty() && std::filesystem::exists(file, ignored)) {
    const auto mapped = base::MappedFile::open(file.string());
    const auto bytes = mapped->bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string cubin = compile_cubin(source, arch);
  if (folder.empty()) return cubin;
  try {
    std::filesystem::create_directories(folder, ignored);
    base::AtomicFile out(file.string());
    out.append(cubin.data(), cubin.size());
    out.commit();
  } catch (const Error& error) {
    base::log(LogLevel::Info, base::cat("[cuda] kernel not kept: ", error.what()));
  }
  return cubin;
}

}  // namespace

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal), name_(base::cat("cuda:", ordinal)) {
  const Driver& api = driver();
  CUdevice device = 0;
  check(api.cuDeviceGet(&device, ordinal), "get a device");
  char chip[256] = {};
  check(api.cuDeviceGetName(chip, sizeof chip, device), "get a device's name");
  chip_ = chip;
  int major = 0, minor = 0;
  api.cuDeviceGetAttribute(&major, kComputeCapabilityMajor, device);
  api.cuDeviceGetAttribute(&minor, kComputeCapabilityMinor, device);
  api.cuDeviceGetAttribute(&multiprocessors_, kMultiprocessorCount, device);
  if (major < 8) {
    base::fail("cuda", ErrorCode::Unsupported, name_, " (", chip_,
               "): want compute capability 8.0 or more, have ", major, ".", minor);
  }
  arch_ = base::cat("sm_", major, minor);
  launches_early_ = major >= 9;
  check(api.cuDeviceTotalMem(&memory_bytes_, device), "get a device's memory");
  check(api.cuDevicePrimaryCtxRetain(&context_, device), "use a device");
  const backends::UseDevice use(*this);
  int least = 0, greatest = 0;
  api.cuCtxGetStreamPriorityRange(&least, &greatest);
  // Weights are built beside running programs, not before them, but for short parts of recordings.
  check(api.cuStreamCreateWithPriority(&work_stream_, kStreamNonBlocking, least),
        "create a stream");
  check(api.cuStreamCreateWithPriority(&copy_stream_, kStreamNonBlocking, least),
        "create a stream");
  check(api.cuStreamCreateWithPriority(&record_stream_, kStreamNonBlocking, least),
        "create a stream");
  check(api.cuStreamCreateWithPriority(&urgent_record_stream_, kStreamNonBlocking, greatest),
        "create a stream");
}

CudaDevice::CudaDevice(std::string arch)
    : name_("cuda:none"), arch_(std::move(arch)), multiprocessors_(132) {}

std::string CudaDevice::facts() const {
  int version = 0;
  driver().cuDriverGetVersion(&version);
  return base::cat(chip_, " ", arch_, " driver ", version, " cuBLASLt ",
                   cublaslt().cublasLtGetVersion(), " cuDNN ", cudnn().cudnnGetVersion(), " NVRTC ",
                   compiler_version());
}

void CudaDevice::enter() const {
  if (context_ != nullptr) check(driver().cuCtxPushCurrent(context_), "enter a device");
}

void CudaDevice::leave() const noexcept {
  if (context_ == nullptr) return;
  CUcontext popped = nullptr;
  driver().cuCtxPopCurrent(&popped);
}

std::shared_ptr<std::byte> CudaDevice::allocate(size_t bytes) {
  if (RecordingHere::is_alive)
    base::fail("cuda", ErrorCode::Internal, name_, ": a recording wants ", bytes, " new bytes");
  const backends::UseDevice use(*this);
  const AllowMemory allow;
  CUdeviceptr data = 0;
  const CUresult result = driver().cuMemAlloc(&data, std::max<size_t>(bytes, 256));
  if (result != 0) {
    size_t free = 0, total = 0;
    driver().cuMemGetInfo(&free, &total);
    base::fail("cuda", result == kOutOfMemory ? ErrorCode::OutOfMemory : ErrorCode::Internal, name_,
               ": cannot allocate ", bytes, " bytes; ", free, " of ", total, " are free");
  }
  return {reinterpret_cast<std::byte*>(data), [this](std::byte* memory) {
            enter();
            {
              const AllowMemory allow;
              driver().cuMemFree(as_pointer(memory));
            }
            leave();
          }};
}

std::shared_ptr<std::byte> CudaDevice::allocate_pinned(size_t bytes) {
  const backends::UseDevice use(*this);
  void* memory = nullptr;
  check(driver().cuMemHostAlloc(&memory, bytes, kHostAllocPortable), "pin memory");
  return {static_cast<std::byte*>(memory), [this](std::byte* pinned) {
            enter();
            driver().cuMemFreeHost(pinned);
            leave();
          }};
}

bool CudaDevice::holds(const void* data) const {
  unsigned type = 0;
  int ordinal = -1;
  const CUdeviceptr pointer = as_pointer(data);
  // Memory that the driver has never heard of is the host's.
  if (driver().cuPointerGetAttribute(&type, kPointerMemoryType, pointer) != 0) return false;
  if (type != kDeviceMemory) return false;
  driver().cuPointerGetAttribute(&ordinal, kPointerDeviceOrdinal, pointer);
  want_own(ordinal);
  return true;
}

void CudaDevice::want_own(int ordinal) const {
  if (ordinal == ordinal_) return;
  base::fail("cuda", ErrorCode::Mismatch, "want memory of ", name_,
             ", have some of cuda:", ordinal);
}

// One question instead of four.
backends::Allocation CudaDevice::allocation_of(const void* data) const {
  unsigned type = 0;
  int ordinal = -1;
  CUdeviceptr begin = 0;
  size_t bytes = 0;
  int attributes[] = {kPointerMemoryType, kPointerDeviceOrdinal, kPointerRangeStart,
                      kPointerRangeSize};
  void* values[] = {&type, &ordinal, &begin, &bytes};
  const CUdeviceptr pointer = as_pointer(data);
  const bool is_told =
      driver().cuPointerGetAttributes(std::size(attributes), attributes, values, pointer) == 0;
  const bool is_range = begin <= pointer && pointer - begin < bytes;
  // Of memory that the driver has never heard of, it tells type 0.
  if (is_told && type != kDeviceMemory) return {pointer, pointer + 1, false};
  if (!is_told || !is_range) return Device::allocation_of(data);
  want_own(ordinal);
  return {begin, begin + bytes, true};
}

void CudaDevice::copy(void* to, const void* from, size_t bytes, Stream stream) {
  if (bytes == 0) return;
  check(driver().cuMemcpyAsync(as_pointer(to), as_pointer(from), bytes, as_stream(stream)),
        "copy memory");
}

void CudaDevice::convert(const TensorView& from, const MutableTensorView& to, Stream stream) {
  if (from.count() == 0) return;
  StridedCopy(*this, from.dims, from.dtype, from.strides, to.dtype, to.strides)
      .run(from.data, to.mutable_data(), stream);
}

std::unique_ptr<backends::Upload> CudaDevice::begin_upload() {
  return std::make_unique<CudaUpload>(*this);
}

void CudaDevice::upload_in_copies(std::span<const backends::BlockCopy> blocks) {
  const std::lock_guard lock(ring_mutex_);
  if (!ring_) ring_ = std::make_unique<PinnedRing>();
  ring_->upload(blocks, as_stream(work_stream_));
}

void CudaDevice::copy_blocks(std::span<const backends::BlockCopy> blocks) {
  cuda::copy_blocks(*this, blocks);
}

void CudaDevice::clear(void* to, size_t bytes, Stream stream) {
  check(driver().cuMemsetD8Async(as_pointer(to), 0, bytes, as_stream(stream)), "clear memory");
}

void CudaDevice::count_non_finite(std::span<const TensorView> tensors,
                                  std::span<uint64_t* const> counters) {
  cuda::count_non_finite(*this, tensors, counters);
}

std::unique_ptr<backends::Recording> CudaDevice::repeat_copies(
    std::span<const backends::BlockCopy> blocks) {
  return cuda::repeat_copies(*this, blocks);
}

std::unique_ptr<backends::Recording> CudaDevice::repeat_counts(
    std::span<const TensorView> tensors, std::span<uint64_t* const> counters) {
  return cuda::repeat_counts(*this, tensors, counters);
}

void CudaDevice::merge_lora(std::span<const backends::LoraMerge> merges) {
  cuda::merge_lora(*this, merges);
}

void CudaDevice::with_table(std::span<const std::byte> bytes,
                            const std::function<void(const std::byte*)>& use) {
  const std::lock_guard lock(table_mutex_);
  if (table_bytes_ < bytes.size()) {
    // What reads the old table may still run.
    synchronise(work_stream_);
    table_bytes_ = std::max<size_t>(2 * bytes.size(), size_t{1} << 16);
    table_ = allocate(table_bytes_);
  }
  // From pinned memory: the driver would wait for pageable memory to be read.
  const backends::BlockCopy block{table_.get(), bytes.data(), bytes.size()};
  upload_in_copies({&block, 1});
  use(table_.get());
}

void CudaDevice::with_pinned_table(std::span<const std::byte> bytes,
                                   const std::function<void(const std::byte*)>& use) {
  const std::lock_guard lock(table_mutex_);
  PinnedTable& table = pinned_table_;
  if (table.read == nullptr) table.read = make_event();
  // What reads the old table may still run.
  if (table.bytes > 0) table.read->wait();
  if (table.bytes < bytes.size()) {
    table.bytes = 0;
    const size_t wanted = std::max<size_t>(2 * bytes.size(), size_t{1} << 16);
    table.memory = allocate_pinned(wanted);
    table.bytes = wanted;
  }
  std::copy(bytes.begin(), bytes.end(), table.memory.get());
  use(table.memory.get());
  table.read->record(work_stream_);
}

void CudaDevice::synchronise(Stream stream) {
  check(driver().cuStreamSynchronize(as_stream(stream)), "run on the device");
}

void CudaDevice::synchronise_all() {
  const backends::UseDevice use(*this);
  check(driver().cuCtxSynchronize(), "run on the device");
}

std::shared_ptr<backends::Event> CudaDevice::make_event() {
  return std::make_shared<CudaEvent>(*this);
}

std::unique_ptr<backends::Laps> CudaDevice::make_laps(size_t points) {
  return std::make_unique<CudaLaps>(*this, points);
}

std::unique_ptr<backends::Laps> CudaDevice::try_make_exact_laps(size_t points) {
  const backends::UseDevice use(*this);
  return try_make_activity_laps(points);
}

bool CudaDevice::is_recording(Stream stream) const {
  int status = 0;
  driver().cuStreamIsCapturing(as_stream(stream), &status);
  return status == kCaptureActive;
}

std::unique_ptr<backends::Recording> CudaDevice::record_side_by_side(
    std::span<const Enqueue> branches) {
  const std::lock_guard lock(record_mutex_);
  const bool forks = branches.size() > 1;
  const auto fork = forks ? make_event() : nullptr, join = forks ? make_event() : nullptr;
  check(driver().cuStreamBeginCapture(record_stream_, kCaptureThreadLocal), "capture a stream");
  CUgraph graph = nullptr;
  const RecordingHere here;
  try {
    if (forks) {
      fork->record(record_stream_);
      fork->order(urgent_record_stream_);
      for (const Enqueue& enqueue : branches.subspan(1))
        enqueue(urgent_record_stream_);
      join->record(urgent_record_stream_);
    }
    branches[0](record_stream_);
    if (forks) join->order(record_stream_);
  } catch (...) {
    driver().cuStreamEndCapture(record_stream_, &graph);
    if (graph != nullptr) driver().cuGraphDestroy(graph);
    throw;
  }
  check(driver().cuStreamEndCapture(record_stream_, &graph), "capture a stream");
  // Else all of it has the priority of the stream that it is launched to.
  return std::make_unique<Graph>(*this, graph, forks ? kGraphUsesNodePriority : 0);
}

CUfunction CudaDevice::function(const std::string& source) {
  const std::string digest = base::digest(base::cat(arch_, " ", compiler_version(), "\n", source));
  const std::lock_guard lock(functions_mutex_);
  const auto found = functions_.find(digest);
  if (found != functions_.end()) return found->second;
  const backends::UseDevice use(*this);
  const std::string cubin = read_or_compile(source, arch_, digest);
  if (context_ == nullptr) return functions_[digest] = nullptr;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  check(driver().cuModuleLoadData(&module, cubin.data()), "load a kernel");
  check(driver().cuModuleGetFunction(&function, module, "run"), "find a kernel");
  return functions_[digest] = function;
}

void CudaDevice::allow_shared(CUfunction function, unsigned bytes) {
  constexpr unsigned kAlways = 48u << 10;
  if (function == nullptr || bytes <= kAlways) return;
  const backends::UseDevice use(*this);
  check(driver().cuFuncSetAttribute(function, kMaxDynamicSharedBytes, static_cast<int>(bytes)),
        "use shared memory");
}

cublasLtHandle CudaDevice::cublaslt_handle() {
  const std::lock_guard lock(handles_mutex_);
  if (cublaslt_ != nullptr) return cublaslt_;
  const backends::UseDevice use(*this);
  if (const int status = cublaslt().cublasLtCreate(&cublaslt_); status != 0) {
    base::fail("cuda", ErrorCode::Internal, "cuBLASLt does not start: status ", status);
  }
  return cublaslt_;
}

cudnnHandle CudaDevice::cudnn_handle() {
  const std::lock_guard lock(handles_mutex_);
  if (cudnn_ != nullptr) return cudnn_;
  const backends::UseDevice use(*this);
  if (const int status = cudnn().cudnnCreate(&cudnn_); status != 0) {
    base::fail("cuda", ErrorCode::Internal, "cuDNN does not start: status ", status);
  }
  return cudnn_;
}

CudaDevice& cuda_device(std::string_view name) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<CudaDevice>>& devices =
      *new std::map<int, std::unique_ptr<CudaDevice>>;  // Never destroyed: the driver may be gone.
  int ordinal = 0;
  const std::string_view prefix = "cuda:";
  if (name.starts_with(prefix)) {
    const std::string_view digits = name.substr(prefix.size());
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), ordinal);
    if (error != std::errc{} || end != digits.end()) ordinal = -1;
  } else if (name != "cuda" && !name.empty()) {
    ordinal = -1;
  }
  int count = 0;
  driver().cuDeviceGetCount(&count);
  if (ordinal < 0 || ordinal >= count) {
    base::fail("cuda", ErrorCode::InvalidArgument, "no device '", name,
               "'; want cuda:0..cuda:", count - 1);
  }
  const std::lock_guard lock(mutex);
  std::unique_ptr<CudaDevice>& device = devices[ordinal];
  if (!device) device = std::make_unique<CudaDevice>(ordinal);
  return *device;
}

}  // namespace regraft::cuda
