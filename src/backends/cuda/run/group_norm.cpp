#include "backends/cuda/run/group_norm.h"

#include <algorithm>
#include <limits>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/launch.h"
#include "backends/cuda/run/pointwise_source.h"

namespace regraft::cuda {
namespace {

constexpr size_t kX = 0, kWeight = 1, kBias = 2;
constexpr int64_t kVectorBytes = 16, kThreads = 512;
// A block has a thread for each vector of channels at least.
constexpr int64_t kMostChannels = 3072;

// Images as rows of channels, one for each place.
struct Rows {
  int64_t images = 0, rows = 1, image = 0, row = 0;  // Numbers, then strides.
};

std::optional<Rows> rows_of(const LaunchOperand& operand, int64_t width) {
  const Dims &dims = operand.dims, &strides = operand.strides;
  if (dims.size() < 3 || strides[1] != 1 || operand.alignment % kVectorBytes != 0) {
    return std::nullopt;
  }
  Rows out{dims[0], 1, dims[0] == 1 ? 0 : strides[0], dims[1]};
  for (size_t d = dims.size(); d-- > 2;) {
    if (dims[d] == 1) continue;
    if (out.rows == 1) {
      out.row = strides[d];
    } else if (strides[d] != out.row * out.rows) {
      return std::nullopt;
    }
    out.rows *= dims[d];
  }
  const int64_t vectors = out.rows * (dims[1] / width);
  const bool fits = vectors <= std::numeric_limits<int32_t>::max();
  return fits && out.row % width == 0 && out.image % width == 0 ? std::optional(out) : std::nullopt;
}

bool is_vector(const KernelRequest& request, size_t input) {
  if (!is_present(request.inputs, input)) return true;
  const Operand& operand = request.inputs[input];
  return is_narrow_float(operand.dtype) && operand.strides[0] == 1;
}

std::string_view type_of(const KernelRequest& request, size_t input) {
  return is_present(request.inputs, input) ? type_name(request.inputs[input].dtype) : "float";
}

}  // namespace

std::unique_ptr<Kernel> try_make_group_norm(CudaDevice& device, const KernelRequest& request) {
  const LaunchOperand x = input_of(request, kX), out = output_of(request, 0);
  const Epilogue items = epilogue_of(request);
  const auto is_binary = [](const EpilogueItem& item) { return item.is_binary(); };
  if (!is_narrow_float(x.dtype) || out.dtype != x.dtype || x.dims != out.dims ||
      !is_vector(request, kWeight) || !is_vector(request, kBias) || x.dims.size() < 3 ||
      std::any_of(items.begin(), items.end(), is_binary)) {
    return nullptr;
  }
  const int64_t width = kVectorBytes / static_cast<int64_t>(item_size(x.dtype));
  const int64_t channels = x.dims[1], groups = request.attributes.integer("groups");
  const int64_t columns = channels / width;
  if (channels % width != 0 || channels > kMostChannels) return nullptr;
  const auto from = rows_of(x, width), to = rows_of(out, width);
  if (!from || !to || from->images == 0 || from->rows == 0) return nullptr;

  // Enough blocks for the chip, with some rows for each of their threads.
  const int64_t rows = std::max<int64_t>(kThreads / columns, 1),
                wanted = 2 * int64_t{device.multiprocessors()};
  const int64_t most = std::max<int64_t>((wanted + from->images - 1) / from->images, 1);
  constexpr int64_t kRowsOfThread = 2;
  int64_t chunks = std::clamp<int64_t>(from->rows / (rows * kRowsOfThread), 1, most);
  const int64_t chunk_rows = (from->rows + chunks - 1) / chunks;
  chunks = (from->rows + chunk_rows - 1) / chunk_rows;
  const int64_t blocks = std::min((from->rows + rows - 1) / rows, 2 * most);

  const std::string defines =
      base::cat("typedef ", type_name(x.dtype), " T0;\ntypedef ", type_of(request, kWeight),
                " TW;\ntypedef ", type_of(request, kBias), " TB;\ntypedef float real;\n#define ",
                "CHANNELS ", channels, "\n#define GROUPS ", groups, "\n#define WIDTH ", width,
                "\n#define ROWS ", rows, "\n__device__ inline T0 finish(float x0) {\n",
                pointwise_statements(epilogue_program(items)), "      return to<T0>(result);\n}\n");
  std::vector<Launch> launches;
  for (const int stage : {0, 1}) {
    Launch::Words words;
    words.add(x.place);
    words.add(Place::workspace(0));
    if (stage == 1) {
      words.add(out.place);
      for (const size_t input : {kWeight, kBias})
        is_present(request.inputs, input) ? words.add(Place::input(input)) : words.add(int64_t{0});
    }
    for (const int64_t word :
         {from->image, from->row, to->image, to->row, from->rows, chunks, chunk_rows, blocks}) {
      words.add(word);
    }
    words.add(request.attributes.number("eps"));
    const std::string source = base::cat(pointwise_prelude(), defines, "#define STAGE ", stage,
                                         "\n", kernel_source("group_norm"));
    const int64_t count = from->images * (stage == 0 ? chunks : blocks);
    launches.emplace_back(device.function(source), std::move(words), static_cast<unsigned>(count),
                          static_cast<unsigned>(rows * columns));
  }
  const auto bytes = static_cast<size_t>(from->images * chunks * groups) * 2 * sizeof(float);
  return std::make_unique<LaunchKernel>(std::move(launches), "group_norm", bytes);
}

}  // namespace regraft::cuda
