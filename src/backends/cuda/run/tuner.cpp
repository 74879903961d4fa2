#include "backends/cuda/run/tuner.h"

#include <cstdlib>
#include <filesystem>

#include "backends/cuda/run/stopwatch.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace regraft::cuda {
namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The nth part of a tactic like "patches+cublasLt:66.1+pointwise" that begins with `kind`.
std::optional<std::string> part_of(std::string_view tactic, std::string_view kind, size_t nth) {
  while (!tactic.empty()) {
    const std::string_view part = tactic.substr(0, tactic.find('+'));
    tactic.remove_prefix(std::min(tactic.size(), part.size() + 1));
    if (part.starts_with(kind) && nth-- == 0) return std::string(part);
  }
  return std::nullopt;
}

std::string header(const std::string& facts, const std::string& problem) {
  return base::cat("regraft tactic 1\n", facts, "\n", problem, "\n");
}

}  // namespace

bool Tuner::may_time(const KernelRequest& request) {
  return request.tactic == "fastest" && variable("REGRAFT_CUDA_TACTICS") != "heuristic";
}

// Empty where there is no cache.
std::string Tuner::cache_file(const std::string& problem) const {
  const std::string_view folder = variable("REGRAFT_CUDA_TIMING_CACHE");
  if (folder.empty()) return "";
  const std::string name = base::digest(header(device_.facts(), problem)) + ".tactic";
  return (std::filesystem::path(folder) / name).string();
}

std::optional<std::string> Tuner::known(const KernelRequest& request, const std::string& problem,
                                        std::string_view kind, size_t nth) {
  if (auto wanted = part_of(request.tactic, kind, nth)) return wanted;
  if (!may_time(request)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = choices_.find(problem);
  if (found != choices_.end()) return found->second;
  const std::string file = cache_file(problem);
  std::error_code ignored;
  if (file.empty() || !std::filesystem::exists(file, ignored)) return std::nullopt;
  try {
    const auto mapped = base::MappedFile::open(file);
    std::string_view text(reinterpret_cast<const char*>(mapped->bytes().data()),
                          mapped->bytes().size());
    const std::string start = header(device_.facts(), problem);
    if (!text.starts_with(start)) return std::nullopt;
    text.remove_prefix(start.size());
    const std::string_view id = text.substr(0, text.find('\n'));
    if (!id.starts_with(kind)) return std::nullopt;
    return choices_[problem] = std::string(id);
  } catch (const Error& error) {
    base::log(LogLevel::Info, base::cat("[cuda] timing cache not read: ", error.what()));
    return std::nullopt;
  }
}

void Tuner::keep(const std::string& problem, const std::string& id) {
  choices_[problem] = id;
  const std::string file = cache_file(problem);
  if (file.empty()) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path(), ignored);
    const std::string text = header(device_.facts(), problem) + id + "\n";
    base::AtomicFile out(file);
    out.append(text.data(), text.size());
    out.commit();
  } catch (const Error& error) {
    base::log(LogLevel::Info, base::cat("[cuda] timing not kept: ", error.what()));
  }
}

size_t Tuner::fastest(const KernelRequest& request, const std::string& problem,
                      std::span<const Candidate> candidates) {
  // One at a time: work of others would be timed too.
  const std::lock_guard lock(mutex_);
  if (const auto found = choices_.find(problem); found != choices_.end()) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i].id == found->second) return i;
    }
  }
  // Later guesses have to be faster by more than what one measures twice.
  constexpr double kBetter = 0.97;
  size_t best = 0;
  double least = 0;
  try {
    Stopwatch stopwatch(device_, request, candidates);
    for (size_t i = 0; i < candidates.size(); ++i) {
      const std::optional<double> ms = stopwatch.time(candidates[i], least);
      if (!ms || (least > 0 && *ms > kBetter * least)) continue;
      best = i;
      least = *ms;
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::OutOfMemory) throw;
    base::log(LogLevel::Info, base::cat("[cuda] not timed: ", error.what()));
  }
  keep(problem, candidates[best].id);
  base::log(LogLevel::Debug, base::cat("[cuda] ", problem, ": ", candidates[best].id, ", guess ",
                                       best, " of ", candidates.size(), ", ", least, " ms"));
  return best;
}

Tuner& tuner_of(CudaDevice& device) {
  static std::mutex mutex;
  static std::map<const CudaDevice*, std::unique_ptr<Tuner>>& tuners =
      *new std::map<const CudaDevice*, std::unique_ptr<Tuner>>;  // As the devices: never destroyed.
  const std::lock_guard lock(mutex);
  std::unique_ptr<Tuner>& tuner = tuners[&device];
  if (!tuner) tuner = std::make_unique<Tuner>(device);
  return *tuner;
}

}  // namespace regraft::cuda
