#include "backends/cuda/run/pointwise_source.h"

#include <algorithm>

#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {
namespace {

std::string_view take(std::string_view& rest, char end) {
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  const std::string_view word = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

// A source of an instruction as a C++ expression.
std::string expression(std::string_view word) {
  if (word == "true" || word == "false") return std::string(word);
  if (word[0] == 'i' && word.size() > 1 && word[1] >= '0' && word[1] <= '9') {
    return base::cat("value_of(x", word.substr(1), ")");
  }
  if (word[0] == 'r') return std::string(word);
  if (word == "inf") return "(real)REGRAFT_INF";
  if (word == "-inf") return "(-(real)REGRAFT_INF)";
  if (word == "nan") return "((real)REGRAFT_INF - (real)REGRAFT_INF)";
  if (word.find_first_not_of("-0123456789") != std::string_view::npos) {
    return base::cat("((real)", word, ")");
  }
  // The least number has no literal.
  if (word == "-9223372036854775808") return "(-9223372036854775807ll - 1)";
  return base::cat("((i64)", word, "ll)");
}

}  // namespace

std::string pointwise_statements(std::string_view program) {
  const size_t arrow = program.find("->");
  std::string_view body = program.substr(0, arrow), result = program.substr(arrow + 2);
  std::string text;
  size_t next = 0;
  while (body.find_first_not_of(' ') != std::string_view::npos) {
    std::string_view line = take(body, ';');
    std::string op(take(line, ' '));
    std::replace(op.begin(), op.end(), ':', '_');
    std::vector<std::string> sources;
    while (line.find_first_not_of(' ') != std::string_view::npos)
      sources.push_back(expression(take(line, ' ')));
    text += base::cat("      const auto r", next++, " = op_", op, "(", base::join(sources, ", "),
                      ");\n");
  }
  const std::string value = expression(take(result, ' '));
  return text + base::cat("      const auto result = ", value, ";\n");
}

namespace {

// The bits of an element that are all set in NaN and infinity, and in no number.
std::string_view exponent_mask(DType dtype) {
  switch (dtype) {
    case DType::F8E4M3FN:
      return "0x7fu";
    case DType::F8E5M2:
      return "0x7cu";
    case DType::F16:
      return "0x7c00u";
    case DType::BF16:
      return "0x7f80u";
    case DType::F32:
      return "0x7f800000u";
    default:
      return "0x7ff0000000000000ull";
  }
}

// Writes one body. Operand 0 is the output, operand k + 1 input k.
class BodyWriter {
 public:
  BodyWriter(const PointwiseSpec& spec, const Space& space, const std::vector<size_t>& passed,
             int at_once)
      : spec_(spec), space_(space), passed_(passed), at_once_(at_once) {}

  std::string run() {
    types();
    if (space_.is_tiled()) tile_functions();
    // By value: they cannot be what is stored to.
    add("__device__ inline void body(Operands p, const Layout a, index block, index blocks, "
        "char* shared) {\n  p.out = global(p.out);\n");
    for (size_t k = 0; k < inputs(); ++k)
      add("  p.in", k, " = global(p.in", k, ");\n");
    for (const size_t k : passed_)
      add("  u32 found", k, " = 0;\n");
    if (space_.is_tiled()) {
      tiles();
    } else {
      vectors();
    }
    for (const size_t k : passed_)
      add("  add_count(p.found", k, ", found", k, ");\n");
    add("}\n");
    return std::move(text_);
  }

 private:
  template <typename... Parts>
  void add(const Parts&... parts) {
    text_ += base::cat(parts...);
  }

  size_t inputs() const { return spec_.inputs.size(); }
  std::string type(const LaunchOperand& operand) const {
    return spec_.moves ? raw_name(operand.dtype) : std::string(type_name(operand.dtype));
  }
  bool is_passed(size_t k) const {
    return std::find(passed_.begin(), passed_.end(), k) != passed_.end();
  }
  static std::string at_name(size_t operand) {
    return operand == 0 ? "target" : base::cat("at", operand - 1);
  }
  int64_t stride(size_t operand, size_t axis) const { return space_.strides[operand][axis]; }

  void types() {
    bool has_double = spec_.output.dtype == DType::F64;
    for (const LaunchOperand& input : spec_.inputs)
      has_double = has_double || input.dtype == DType::F64;
    add("typedef ", type(spec_.output), " TO;\n");
    for (size_t k = 0; k < inputs(); ++k)
      add("typedef ", type(spec_.inputs[k]), " T", k, ";\n");
    add("typedef ", has_double ? "double" : "float", " real;\ntypedef ",
        space_.is_small ? "u32" : "u64", " index;\nstruct Operands {\n  TO* out;\n");
    for (size_t k = 0; k < inputs(); ++k)
      add("  const T", k, "* in", k, ";\n");
    for (const size_t k : passed_)
      add("  u64* found", k, ";\n  T", k, "* copy", k, ";\n");
    const size_t rank = space_.dims.size();
    add("};\nstruct Layout {\n  i64 count, dims[", rank, "], strides[", inputs() + 1, "][", rank,
        "]", space_.is_tiled() ? ", columns" : "", ";\n};\n");
  }

  // Offsets of all operands grow by those of position `p` along an axis.
  void advance(size_t axis, bool last_is_code) {
    for (size_t operand = 0; operand <= inputs(); ++operand) {
      // Strides of 0 and 1 along the last axis are part of the code: they decide how it loads.
      if (last_is_code && stride(operand, axis) == 0) continue;
      if (last_is_code && stride(operand, axis) == 1) {
        add("      ", at_name(operand), " += p;\n");
      } else {
        add("      ", at_name(operand), " += p * (index)a.strides[", operand, "][", axis, "];\n");
      }
    }
  }

  void start_offsets() {
    add("    index target = 0;\n");
    for (size_t k = 0; k < inputs(); ++k)
      add("    index at", k, " = 0;\n");
  }

  void count(size_t k, std::string_view value) {
    if (!is_passed(k)) return;
    const std::string_view mask = exponent_mask(spec_.inputs[k].dtype);
    add("      found", k, " += (bits_of(", value, ") & ", mask, ") == ", mask, ";\n");
  }

  // An element, or several at once, also goes to the copy.
  void copy(size_t k, std::string_view type, std::string_view offset, std::string_view value) {
    if (!is_passed(k)) return;
    add("    if (p.copy", k, " != nullptr) *(", type, "*)(global(p.copy", k, ") + ", offset,
        ") = ", value, ";\n");
  }

  std::string result() const { return spec_.moves ? "result" : "to_element(result)"; }

  bool is_vector(size_t operand) const {
    return space_.vector > 1 && stride(operand, space_.last()) == 1;
  }
  // One value for all elements of a vector.
  bool is_single(size_t operand) const {
    return stride(operand, space_.last()) == 0 || space_.vector == 1;
  }

  // What a thread handles at once is loaded before the first of it is stored: stores might change
  // what is loaded after them.
  void vectors() {
    const size_t last = space_.last();
    const int64_t n = space_.vector;
    const auto each = [&] {
      add("#pragma unroll\n    for (int u = 0; u < ", at_once_,
          "; ++u) {\n    const index v = first + u * blocks * kThreads;\n"
          "    if (v >= (index)a.count) break;\n");
    };
    add("  for (index first = block * kThreads + threadIdx.x; first < (index)a.count; first += ",
        at_once_, " * blocks * kThreads) {\n    index targets[", at_once_, "];\n");
    for (size_t k = 0; k < inputs(); ++k) {
      add("    index ats", k, "[", at_once_, "];\n");
      if (is_vector(k + 1)) add("    Pack<T", k, ", ", n, "> packs", k, "[", at_once_, "];\n");
      if (is_single(k + 1)) add("    T", k, " ones", k, "[", at_once_, "];\n");
    }
    each();
    add("    index rest = v;\n");
    start_offsets();
    // dims[last] counts vectors.
    for (size_t d = last + 1; d-- > 0;) {
      add("    { const index p = (", d == 0 ? "rest" : base::cat("rest % (index)a.dims[", d, "]"),
          ")", d == last && n > 1 ? base::cat(" * ", n) : "", ";\n");
      advance(d, d == last);
      add("    }\n");
      if (d > 0) add("    rest /= (index)a.dims[", d, "];\n");
    }
    add("    targets[u] = target;\n");
    for (size_t k = 0; k < inputs(); ++k) {
      add("    ats", k, "[u] = at", k, ";\n");
      if (is_vector(k + 1)) {
        add("    packs", k, "[u] = *(const Pack<T", k, ", ", n, ">*)(p.in", k, " + at", k, ");\n");
      } else if (is_single(k + 1)) {
        add("    ones", k, "[u] = p.in", k, "[at", k, "];\n");
      }
    }
    add("    }\n");
    each();
    add("    const index target = targets[u];\n");
    for (size_t k = 0; k < inputs(); ++k) {
      add("    const index at", k, " = ats", k, "[u];\n");
      const std::string pack = base::cat("Pack<T", k, ", ", n, ">");
      if (is_vector(k + 1)) {
        add("    const ", pack, " pack", k, " = packs", k, "[u];\n");
        copy(k, pack, base::cat("at", k), base::cat("pack", k));
      } else if (is_single(k + 1)) {
        add("    const T", k, " one", k, " = ones", k, "[u];\n");
        copy(k, base::cat("T", k), base::cat("at", k), base::cat("one", k));
      }
    }
    if (is_vector(0)) add("    Pack<TO, ", n, "> done;\n");
    add("#pragma unroll\n    for (int j = 0; j < ", n, "; ++j) {\n");
    for (size_t k = 0; k < inputs(); ++k) {
      add("      const T", k, " x", k, " = ");
      if (is_vector(k + 1)) {
        add("pack", k, ".items[j];\n");
      } else if (is_single(k + 1)) {
        add("one", k, ";\n");
      } else {
        const std::string at =
            base::cat("at", k, " + j * (index)a.strides[", k + 1, "][", last, "]");
        add("p.in", k, "[", at, "];\n");
        copy(k, base::cat("T", k), at, base::cat("x", k));
      }
      count(k, base::cat("x", k));
    }
    add(pointwise_statements(spec_.program), "      ",
        is_vector(0) ? "done.items[j]"
        : n == 1     ? "p.out[target]"
                     : "p.out[target + j]",
        " = ", result(), ";\n    }\n");
    if (is_vector(0)) add("    store_pack(p.out + target, done);\n");
    add("    }\n  }\n");
  }

  // Rows lie along the last axis, columns along the tiled operand's.
  void tiles() {
    const auto k = static_cast<size_t>(space_.tiled) - 1;
    const std::string item = base::cat("T", k);
    add("  ", item, "* const tiles = (", item,
        "*)shared;\n"
        "  index v = block;\n  Spot here = spot_of(a, v);\n"
        "  if (v < (index)a.count) load(p, a, here, tiles);\n  end_tile();\n"
        "  for (int turn = 0; v < (index)a.count; turn ^= 1) {\n"
        "    ",
        item, "* const tile = tiles + turn * kTile;\n",
        "    const Spot spot = here;\n"
        "    v += blocks;\n"
        "    if (v < (index)a.count) {\n"
        "      here = spot_of(a, v);\n"
        "      load(p, a, here, tiles + (turn ^ 1) * kTile);\n"
        "    }\n"
        "    end_tile();\n"
        "    wait_for_tile();\n");
    for (size_t operand = 0; operand <= inputs(); ++operand)
      add("    const index ", at_name(operand), " = spot.", at_name(operand), ";\n");
    copy_tile(k);
    store_tile(k);
    add("    __syncthreads();  // The tile has been read.\n  }\n");
  }

  // Where a tile begins, and what of it lies inside.
  void tile_functions() {
    const size_t last = space_.last(), axis = space_.tile_axis;
    const auto k = static_cast<size_t>(space_.tiled) - 1;
    add("constexpr int kTile = ", kTileBytes / item_size(spec_.inputs[k].dtype),
        ";\nstruct Spot {\n  index rows, columns");
    for (size_t operand = 0; operand <= inputs(); ++operand)
      add(", ", at_name(operand));
    add(";\n};\n__device__ inline Spot spot_of(const Layout& a, index v) {\n"
        "    const index dim_r = (index)a.dims[",
        last, "], dim_c = (index)a.dims[", axis, "];\n    const index tiles_r = (dim_r + ",
        space_.tile_rows - 1, ") / ", space_.tile_rows, ";\n    index rest = v;\n");
    start_offsets();
    add("    const index r0 = rest % tiles_r * ", space_.tile_rows,
        ";\n    rest /= tiles_r;\n    { const index p = r0;\n");
    advance(last, false);
    add("    }\n");
    // A dense tile has all columns.
    if (space_.tile_is_dense) {
      add("    const index c0 = 0;\n");
    } else {
      add("    const index tiles_c = (dim_c + (index)a.columns - 1) / (index)a.columns;\n"
          "    const index c0 = rest % tiles_c * (index)a.columns;\n    rest /= tiles_c;\n"
          "    { const index p = c0;\n");
      advance(axis, false);
      add("    }\n");
    }
    const size_t first = axis == 0 ? 1 : 0;
    for (size_t d = last; d-- > 0;) {
      if (d == axis) continue;
      add("    { const index p = rest", d == first ? "" : base::cat(" % (index)a.dims[", d, "]"),
          ";\n");
      advance(d, false);
      add("    }\n");
      if (d != first) add("    rest /= (index)a.dims[", d, "];\n");
    }
    add("    return {min((index)", space_.tile_rows,
        ", dim_r - r0), min((index)a.columns, dim_c - c0)");
    for (size_t operand = 0; operand <= inputs(); ++operand)
      add(", ", at_name(operand));
    add("};\n}\n__device__ inline void load(const Operands& p, const Layout& a, const Spot& spot, "
        "T",
        k, "* tile) {\n");
    each_vector(k, base::cat("fetch<T", k, ", ", space_.tile_vector, ">(tile + place, p.in", k,
                             " + spot.at", k, " + from)"));
    add("}\n");
  }

  // Of the tiled operand: `place` in the tile, `from` in memory.
  void each_vector(size_t k, std::string_view statement) {
    const int64_t n = space_.tile_vector;
    add("#pragma unroll 1\n    for (index e = threadIdx.x * ", n,
        "; e < spot.rows * spot.columns; e += kThreads * ", n, ") {\n");
    if (space_.tile_is_dense) {
      add("      const index place = e, from = e;\n");
    } else {
      add("      const index r = e / spot.columns, c = e % spot.columns, place = r * ", pitch(),
          " + c, from = r * (index)a.strides[", k + 1, "][", space_.last(), "] + c;\n");
    }
    add("      ", statement, ";\n    }\n");
  }

  std::string pitch() const {
    return space_.tile_is_dense ? "(index)a.columns"
                                : base::cat("((index)a.columns + ", space_.tile_vector, ")");
  }

  void copy_tile(size_t k) {
    if (!is_passed(k)) return;
    const std::string pack = base::cat("Pack<T", k, ", ", space_.tile_vector, ">");
    add("    if (p.copy", k, " != nullptr) {\n");
    each_vector(k, base::cat("*(", pack, "*)(global(p.copy", k, ") + at", k, " + from) = *(const ",
                             pack, "*)(tile + place)"));
    add("    }\n");
  }

  // One value for all elements of a tile.
  bool is_single_in_tile(size_t operand) const {
    return stride(operand, space_.last()) == 0 && stride(operand, space_.tile_axis) == 0;
  }

  // What a thread handles at once is loaded before the first of it is stored: stores might change
  // what is loaded after them.
  void store_tile(size_t k) {
    constexpr int kAtOnce = 4;
    const size_t last = space_.last(), axis = space_.tile_axis;
    const int64_t n = space_.tile_stored, groups = space_.tile_rows / n;
    for (size_t j = 0; j < inputs(); ++j) {
      if (is_single_in_tile(j + 1))
        add("    const T", j, " one", j, " = p.in", j, "[at", j, "];\n");
    }
    const std::string place =
        base::cat("      const index i = first + u * kThreads, row = i % ", groups, " * ", n,
                  ", c = i / ", groups,
                  ";\n      if (c >= spot.columns || row >= spot.rows) continue;\n"
                  "#pragma unroll\n      for (int s = 0; s < ",
                  n, "; ++s) {\n      const index r = row + s;\n");
    const auto each = [&] {
      add("#pragma unroll\n    for (int u = 0; u < ", kAtOnce, "; ++u) {\n", place);
    };
    const auto offset_of = [&](size_t j) {
      return base::cat("at", j, " + r * (index)a.strides[", j + 1, "][", last,
                       "] + c * (index)a.strides[", j + 1, "][", axis, "]");
    };
    add("#pragma unroll 1\n    for (index first = threadIdx.x; first < ", groups,
        " * spot.columns; first += ", kAtOnce, " * kThreads) {\n");
    for (size_t j = 0; j < inputs(); ++j) {
      if (!is_single_in_tile(j + 1)) add("    T", j, " items", j, "[", kAtOnce, "][", n, "];\n");
    }
    each();
    for (size_t j = 0; j < inputs(); ++j) {
      if (is_single_in_tile(j + 1)) continue;
      add("      items", j, "[u][s] = ",
          j == k ? base::cat("tile[r * ", pitch(), " + c]")
                 : base::cat("p.in", j, "[", offset_of(j), "]"),
          ";\n");
    }
    add("    }\n    }\n    Pack<TO, ", n, "> done;\n");
    each();
    for (size_t j = 0; j < inputs(); ++j) {
      const bool is_single = is_single_in_tile(j + 1);
      add("      const T", j, " x", j, " = ",
          is_single ? base::cat("one", j) : base::cat("items", j, "[u][s]"), ";\n");
      if (j != k && !is_single) copy(j, base::cat("T", j), offset_of(j), base::cat("x", j));
      if (!is_single) count(j, base::cat("x", j));
    }
    add(pointwise_statements(spec_.program), "      done.items[s] = ", result(),
        ";\n      }\n      store_pack(p.out + target + row + c * (index)a.strides[0][", axis,
        "], done);\n    }\n    }\n");
  }

  const PointwiseSpec& spec_;
  const Space& space_;
  const std::vector<size_t>& passed_;
  int at_once_;
  std::string text_;
};

}  // namespace

std::string pointwise_prelude() {
  return base::cat("constexpr unsigned kThreads = ", kPointwiseThreads, ";\n",
                   kernel_source("prelude"), kernel_source("float8"), kernel_source("vectors"),
                   kernel_source("pointwise_ops"), kernel_source("tile"));
}

std::string pointwise_body(const PointwiseSpec& spec, const Space& space,
                           const std::vector<size_t>& passed, int at_once) {
  return BodyWriter(spec, space, passed, at_once).run();
}

std::vector<int64_t> pointwise_layout(const Space& space) {
  std::vector<int64_t> words = {space.items()};
  words.insert(words.end(), space.dims.begin(), space.dims.end());
  if (!space.is_tiled()) words.back() /= space.vector;
  for (const Dims& strides : space.strides)
    words.insert(words.end(), strides.begin(), strides.end());
  if (space.is_tiled()) words.push_back(space.tile_columns);
  return words;
}

}  // namespace regraft::cuda
