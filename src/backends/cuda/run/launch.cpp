#include "backends/cuda/run/launch.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {
namespace {

constexpr unsigned kThreads = 256;

std::string prelude() { return base::cat(kernel_source("prelude"), kernel_source("float8")); }

unsigned blocks_for(const CudaDevice& device, int64_t work, unsigned threads) {
  const int64_t most = int64_t{device.multiprocessors()} * 32;
  return static_cast<unsigned>(std::clamp<int64_t>((work + threads - 1) / threads, 1, most));
}

void add_types(std::string& source, const std::vector<LaunchOperand>& operands, char letter,
               bool moves) {
  for (size_t i = 0; i < operands.size(); ++i) {
    const DType dtype = operands[i].dtype;
    const bool raw = is_complex(dtype) || (moves && i == 0);
    source += base::cat("typedef ", raw ? raw_name(dtype) : std::string(type_name(dtype)), " ",
                        letter, i, ";\n");
  }
}

template <typename T>
void pad(Launch::Words& words, const std::vector<T>& values, size_t count) {
  for (size_t i = 0; i < count; ++i)
    words.add(i < values.size() ? values[i] : T{});
}

}  // namespace

void* Place::in(const KernelArguments& arguments) const {
  void* start = kind == Input    ? const_cast<void*>(arguments.inputs[index])
                : kind == Output ? arguments.outputs[index]
                                 : arguments.workspace;
  return static_cast<std::byte*>(start) + offset;
}

LaunchOperand input_of(const KernelRequest& request, size_t i) {
  const Operand& operand = request.inputs[i];
  return {Place::input(i), operand.dtype, operand.dims, operand.strides, operand.alignment};
}

LaunchOperand output_of(const KernelRequest& request, size_t i) {
  const Operand& operand = request.outputs[i];
  return {Place::output(i), operand.dtype, operand.dims, operand.strides, operand.alignment};
}

std::string_view type_name(DType dtype) {
  constexpr std::string_view kNames[kDTypeCount] = {"bool", "u8",    "i8",       "i16",   "i32",
                                                    "i64",  "f16",   "bf16",     "float", "double",
                                                    "raw8", "raw16", "f8e4m3fn", "f8e5m2"};
  return kNames[static_cast<size_t>(dtype)];
}

std::string raw_name(DType dtype) { return base::cat("raw", item_size(dtype)); }

void Launch::Words::add(double number) { words_.push_back(std::bit_cast<uint64_t>(number)); }

void Launch::Words::add(Place place) {
  places_.emplace_back(words_.size(), place);
  words_.push_back(0);
}

void Launch::Words::add(const LaunchOperand& operand) {
  if (operand.dims.size() > kMaxRank) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: more than ", kMaxRank, " dimensions");
  }
  add(operand.place);
  add(static_cast<int64_t>(operand.dims.size()));
  for (const Dims* list : {&operand.dims, &operand.strides}) {
    for (size_t i = 0; i < kMaxRank; ++i)
      add(i < list->size() ? (*list)[i] : int64_t{0});
  }
}

Launch::Launch(CUfunction function, Words words, unsigned blocks, unsigned threads,
               unsigned shared_bytes)
    : function_(function),
      words_(std::move(words)),
      blocks_(blocks),
      threads_(threads),
      shared_bytes_(shared_bytes) {
  if (words_.words_.size() > kMaxArgumentWords) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: too many operands for one kernel");
  }
}

void Launch::run(const KernelArguments& arguments) const {
  if (function_ == nullptr) return;
  uint64_t words[kMaxArgumentWords];
  std::memcpy(words, words_.words_.data(), words_.words_.size() * sizeof(uint64_t));
  for (const auto& [word, place] : words_.places_) {
    words[word] = reinterpret_cast<uint64_t>(place.in(arguments));
  }
  void* parameters[] = {words};
  check(driver().cuLaunchKernel(function_, blocks_, 1, 1, threads_, 1, 1, shared_bytes_,
                                as_stream(arguments.stream), parameters, nullptr),
        "launch a kernel");
}

Launch make_element(CudaDevice& device, const ElementSpec& spec) {
  const int64_t count = spec.count >= 0 ? spec.count : numel(spec.outputs[0].dims);
  if (count == 0) return {};
  std::string source = prelude();
  source +=
      base::cat("#define N_IN ", std::max<size_t>(spec.inputs.size(), 1), "\n#define N_OUT ",
                spec.outputs.size(), "\n#define REGRAFT_INTS ", kInts, "\n#define REGRAFT_NUMBERS ",
                kNumbers, "\n#define HAS_IN2 ", spec.inputs.size() > 2 ? 1 : 0, "\n");
  add_types(source, spec.inputs, 'T', spec.moves);
  add_types(source, spec.outputs, 'O', spec.moves);
  source += spec.defines;
  source += kernel_source("element");
  source += kernel_source(spec.source);
  Launch::Words words;
  for (const LaunchOperand& operand : spec.inputs)
    words.add(operand);
  if (spec.inputs.empty()) words.add(spec.outputs[0]);
  for (const LaunchOperand& operand : spec.outputs)
    words.add(operand);
  words.add(count);
  pad(words, spec.ints, kInts);
  pad(words, spec.numbers, kNumbers);
  return {device.function(source), std::move(words), blocks_for(device, count, kThreads), kThreads};
}

std::vector<LaunchOperand> line_axes(const LineSpec& spec, bool in_line) {
  const Dims& dims = spec.operands[0].dims;
  std::vector<size_t> axes;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (spec.reduced[d] == in_line && dims[d] != 1) axes.push_back(d);
  }
  if (in_line && spec.any_order) {
    // Neighbours in memory are read by neighbouring threads.
    std::stable_sort(axes.begin(), axes.end(), [&](size_t a, size_t b) {
      return spec.operands[0].strides[a] > spec.operands[0].strides[b];
    });
  }
  std::vector<LaunchOperand> out = spec.operands;
  for (LaunchOperand& operand : out) {
    operand.dims.clear();
    operand.strides.clear();
  }
  for (const size_t d : axes) {
    bool merges = !out[0].dims.empty();
    for (size_t k = 0; merges && k < out.size(); ++k) {
      merges = out[k].strides.back() == spec.operands[k].strides[d] * dims[d];
    }
    for (size_t k = 0; k < out.size(); ++k) {
      if (merges) {
        out[k].dims.back() *= dims[d];
        out[k].strides.back() = spec.operands[k].strides[d];
      } else {
        out[k].dims.push_back(dims[d]);
        out[k].strides.push_back(spec.operands[k].strides[d]);
      }
    }
  }
  for (LaunchOperand& operand : out) {
    if (!operand.dims.empty() || !in_line) continue;
    operand.dims = {1};
    operand.strides = {0};
  }
  return out;
}

Launch make_line(CudaDevice& device, const LineSpec& spec) {
  const std::vector<LaunchOperand> kept = line_axes(spec, false), line = line_axes(spec, true);
  const int64_t lines = numel(kept[0].dims);
  int64_t length = 1;
  for (size_t d = 0; d < spec.reduced.size(); ++d) {
    if (spec.reduced[d]) length *= spec.operands[0].dims[d];
  }
  if (lines == 0) return {};
  constexpr unsigned kMostThreads = 512;
  unsigned threads = 32;
  while (threads < kMostThreads && threads < length)
    threads *= 2;
  if (spec.one_thread) threads = 1;
  constexpr size_t kMostCache = size_t{40} << 10;
  const size_t cache = static_cast<size_t>(length) * spec.cache_item;
  const bool caches = spec.caches && cache <= kMostCache;
  std::string source = prelude();
  source += base::cat("#define N_OPERANDS ", spec.operands.size(), "\n#define REGRAFT_INTS ", kInts,
                      "\n#define REGRAFT_NUMBERS ", kNumbers, "\n#define MAX_THREADS ",
                      kMostThreads, "\n");
  add_types(source, spec.operands, 'T', false);
  source += spec.defines;
  source += kernel_source("line");
  source += kernel_source(spec.source);
  Launch::Words words;
  for (const LaunchOperand& operand : kept)
    words.add(operand);
  for (const LaunchOperand& operand : line)
    words.add(operand);
  words.add(lines);
  words.add(length);
  std::vector<int64_t> ints = spec.ints;
  if (spec.caches) ints.insert(ints.begin(), caches ? 1 : 0);
  pad(words, ints, kInts);
  pad(words, spec.numbers, kNumbers);
  return {device.function(source), std::move(words),
          static_cast<unsigned>(std::min<int64_t>(lines, 1 << 20)), threads,
          static_cast<unsigned>(caches ? cache : 0)};
}

std::unique_ptr<Kernel> make_kernel(Launch launch, std::string tactic) {
  std::vector<Launch> launches;
  launches.push_back(std::move(launch));
  return std::make_unique<LaunchKernel>(std::move(launches), std::move(tactic));
}

Dims broadcast_strides(const Operand& operand, const Dims& dims) {
  Dims strides(dims.size(), 0);
  const size_t rank = operand.dims.size();
  for (size_t i = 0; i < rank && i < dims.size(); ++i) {
    const size_t d = dims.size() - 1 - i;
    if (operand.dims[rank - 1 - i] == dims[d]) strides[d] = operand.strides[rank - 1 - i];
  }
  return strides;
}

}  // namespace regraft::cuda
