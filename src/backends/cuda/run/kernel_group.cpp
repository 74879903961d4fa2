#include "backends/cuda/run/kernel_group.h"

#include <algorithm>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/pointwise_source.h"

namespace regraft::cuda {
namespace {

static_assert(WorkTable::kThreads == kPointwiseThreads);

// Blocks that a multiprocessor should have at a time.
constexpr int kResident = 5;

// Each of its elements is read once.
bool is_read_once(const LaunchOperand& input, const Dims& dims) {
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] != 1 && input.strides[d] == 0) return false;
  }
  return true;
}

// Vectors that a thread should load before it stores one: enough to keep the memory busy, few
// enough for its registers.
int at_once(const Space& space) {
  int vectors = 0;
  for (size_t k = 1; k < space.strides.size(); ++k) {
    const int64_t stride = space.strides[k][space.last()];
    if (stride > 1) return 1;
    if (stride == 1) ++vectors;
  }
  return vectors <= 1 ? 4 : vectors == 2 ? 2 : 1;
}

}  // namespace

PointwiseGroup::PointwiseGroup(CudaDevice& device, std::span<const Kernel* const> kernels)
    : device_(device), parts_(kernels.size()), passes_(kernels.size()) {
  for (size_t i = 0; i < kernels.size(); ++i) {
    const auto* kernel = dynamic_cast<const PointwiseKernel*>(kernels[i]);
    if (kernel == nullptr) continue;
    for (const PointwiseSpec& spec : kernel->parts())
      add(i, spec);
    find_passes(i);
  }
  source_ = base::cat(pointwise_prelude(), kernel_source("table"));
  for (size_t v = 0; v < bodies_.size(); ++v)
    source_ += base::cat("namespace v", v, " {\n", bodies_[v], "}\n");
  // Words of a piece: variant, layout, operands.
  source_ += base::cat("extern \"C\" __global__ void __launch_bounds__(kThreads, ", kResident,
                       ") run(const __grid_constant__ Table t) {\n");
  source_ += has_tiles_ ? base::cat("  __shared__ alignas(16) char tile[", 2 * kTileBytes, "];\n")
                        : "  char* const tile = nullptr;\n";
  source_ += "  let_next_table_begin();\n  const Work w = work_of(t);\n  switch (w.words[0]) {\n";
  for (size_t v = 0; v < bodies_.size(); ++v) {
    source_ +=
        base::cat("    case ", v, ": {\n      const v", v, "::Operands p = *(const v", v,
                  "::Operands*)(w.words + 2);\n      const v", v, "::Layout a = *(const v", v,
                  "::Layout*)global((const i64*)w.words[1]);\n      wait_for_table();\n"
                  "      return v",
                  v, "::body(p, a, w.block, w.blocks, tile);\n    }\n");
  }
  source_ += "  }\n}\n";
  if (bodies_.empty()) return;
  function_ = device_.function(source_);
  if (function_ == nullptr) return;  // A device that only compiles.
  const size_t bytes = layouts_.size() * sizeof(int64_t);
  uploaded_ = device_.allocate(bytes);
  device_.copy(uploaded_.get(), layouts_.data(), bytes, device_.work_stream());
  device_.synchronise(device_.work_stream());
}

void PointwiseGroup::add(size_t kernel, const PointwiseSpec& spec) {
  std::vector<const LaunchOperand*> operands = {&spec.output};
  for (const LaunchOperand& input : spec.inputs)
    operands.push_back(&input);
  const Space space = space_of(operands);
  Part part;
  for (size_t k = 0; k < spec.inputs.size(); ++k) {
    const LaunchOperand& input = spec.inputs[k];
    if (is_floating(input.dtype) && input.place.kind == Place::Input && input.place.offset == 0 &&
        is_read_once(input, spec.output.dims)) {
      part.passed.push_back(k);
    }
  }
  part.elements = numel(spec.output.dims);
  std::string body = pointwise_body(spec, space, part.passed, at_once(space));
  const auto known = std::find(bodies_.begin(), bodies_.end(), body);
  part.variant = static_cast<uint64_t>(known - bodies_.begin());
  if (known == bodies_.end()) bodies_.push_back(std::move(body));
  part.layout = layouts_.size();
  const std::vector<int64_t> layout = pointwise_layout(space);
  layouts_.insert(layouts_.end(), layout.begin(), layout.end());
  const int64_t per_block = space.items_per_block();
  if (numel(spec.output.dims) > 0) part.blocks = (space.items() + per_block - 1) / per_block;
  for (const LaunchOperand* operand : operands)
    part.operands.push_back(operand->place);
  has_tiles_ = has_tiles_ || space.is_tiled();
  parts_[kernel].push_back(std::move(part));
}

// Inputs that one part alone reads.
void PointwiseGroup::find_passes(size_t kernel) {
  std::vector<size_t> uses;
  std::vector<int64_t>& passes = passes_[kernel];
  for (const Part& part : parts_[kernel]) {
    for (size_t k = 1; k < part.operands.size(); ++k) {
      if (part.operands[k].kind != Place::Input) continue;
      const size_t input = part.operands[k].index;
      if (uses.size() <= input) {
        uses.resize(input + 1, 0);
        passes.resize(input + 1, 0);
      }
      ++uses[input];
    }
    for (const size_t k : part.passed)
      passes[part.operands[k + 1].index] = part.elements;
  }
  for (size_t input = 0; input < passes.size(); ++input) {
    if (uses[input] != 1) passes[input] = 0;
  }
}

std::vector<WorkTable> PointwiseGroup::tables_of(std::span<const std::vector<Call>> stages) const {
  std::vector<WorkTable> tables(stages.size());
  for (size_t s = 0; s < stages.size(); ++s) {
    const int64_t share = share_of(stages[s]);
    for (const Call& call : stages[s]) {
      for (const Part& part : parts_[call.kernel])
        add_work(tables[s], part, call, share);
    }
  }
  return tables;
}

// Where there is much to do, a block does more than it must to be worth starting: it finds its work
// less often.
int64_t PointwiseGroup::share_of(std::span<const Call> stage) const {
  constexpr int64_t kWaves = 16, kMost = 4;
  int64_t blocks = 0;
  for (const Call& call : stage) {
    for (const Part& part : parts_[call.kernel])
      blocks += part.blocks;
  }
  const int64_t wave = kResident * std::max(device_.multiprocessors(), 1);
  return std::clamp<int64_t>(blocks / (kWaves * wave), 1, kMost);
}

void PointwiseGroup::run(std::span<const std::vector<Call>> stages) const {
  WorkTable::launch(device_, function_, tables_of(stages));
}

std::unique_ptr<backends::Recording> PointwiseGroup::record(
    std::span<const std::vector<Call>> stages) const {
  return std::make_unique<RepeatedTables>(device_, function_, tables_of(stages));
}

void PointwiseGroup::add_work(WorkTable& table, const Part& part, const Call& call,
                              int64_t share) const {
  uint64_t words[kMaxArgumentWords];
  size_t count = 0;
  words[count++] = part.variant;
  words[count++] = reinterpret_cast<uint64_t>(uploaded_.get() + part.layout * sizeof(int64_t));
  for (const Place& place : part.operands)
    words[count++] = reinterpret_cast<uint64_t>(place.in(call.arguments));
  for (const size_t k : part.passed) {
    const size_t input = part.operands[k + 1].index;
    words[count++] = call.counters.empty() ? 0 : reinterpret_cast<uint64_t>(call.counters[input]);
    words[count++] = call.copies.empty() ? 0 : reinterpret_cast<uint64_t>(call.copies[input]);
  }
  table.add((part.blocks + share - 1) / share, {words, count});
}

}  // namespace regraft::cuda
