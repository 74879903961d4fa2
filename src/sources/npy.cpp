#include "sources/npy.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "sources/layout.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// Far above what 64 dimensions need; NumPy's own default is 10 000.
constexpr size_t kMaxHeaderBytes = 65536;

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypeNames[] = {
    {"|b1", DType::Bool}, {"|u1", DType::U8},  {"|i1", DType::I8},    {"<i2", DType::I16},
    {"<i4", DType::I32},  {"<i8", DType::I64}, {"<f2", DType::F16},   {"<f4", DType::F32},
    {"<f8", DType::F64},  {"<c8", DType::C64}, {"<c16", DType::C128},
};

// Null where NumPy has no such dtype.
const DTypeName* find_name(DType dtype) {
  const auto known = std::find_if(std::begin(kDTypeNames), std::end(kDTypeNames),
                                  [&](const DTypeName& d) { return d.dtype == dtype; });
  return known == std::end(kDTypeNames) ? nullptr : known;
}

// The header: a Python dict literal with exactly the keys descr, fortran_order and shape.
struct Header {
  std::string descr;
  bool fortran_order = false;
  Dims shape;
};

class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header parse() {
    want('{');
    while (!take('}')) {
      member();
      if (take(',')) continue;
      want('}');
      break;
    }
    skip_space();
    if (at_ != text_.size()) fail("the end of the header");
    if (!has_descr_ || !has_order_ || !has_shape_) fail("the keys descr, fortran_order and shape");
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(std::string_view want) const {
    base::fail("sources", ErrorCode::Corrupt, where_, ": .npy header at byte ", at_, ": want ",
               want, ", have '", printable(text_.substr(std::min(at_, text_.size()), 20)), "'");
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n'))
      ++at_;
  }

  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void want(char c) {
    if (!take(c)) fail(std::string_view(&c, 1));
  }

  void member() {
    const std::string key = string();
    want(':');
    if (key == "descr" && !std::exchange(has_descr_, true)) {
      skip_space();
      if (at_ < text_.size() && text_[at_] == '[') {
        base::fail("sources", ErrorCode::Unsupported, where_, ": structured .npy arrays");
      }
      header_.descr = string();
    } else if (key == "fortran_order" && !std::exchange(has_order_, true)) {
      header_.fortran_order = boolean();
    } else if (key == "shape" && !std::exchange(has_shape_, true)) {
      header_.shape = tuple();
    } else {
      fail("each of the keys descr, fortran_order and shape once");
    }
  }

  std::string string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("a string");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a string");
    const std::string_view body = text_.substr(at_ + 1, end - at_ - 1);
    if (body.find('\\') != std::string_view::npos) fail("a string without escapes");
    at_ = end + 1;
    return std::string(body);
  }

  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return value;
      }
    }
    fail("True or False");
  }

  Dims tuple() {
    Dims dims;
    want('(');
    while (!take(')')) {
      skip_space();
      int64_t size = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0) fail("a size");
      at_ += static_cast<size_t>(end - begin);
      dims.push_back(size);
      if (dims.size() > kMaxRank) fail("at most 64 dimensions");
      if (take(',')) continue;
      // (3) is a number in Python, not a tuple.
      if (dims.size() == 1) fail("','");
      want(')');
      break;
    }
    return dims;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  Header header_;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

DType dtype_of(const std::string& descr, const std::string& where) {
  for (const DTypeName& known : kDTypeNames) {
    if (known.name == descr) return known.dtype;
  }
  const bool is_big = descr.starts_with('>');
  base::fail("sources", ErrorCode::Unsupported, where, ": .npy dtype '", printable(descr), "'",
             is_big ? ": want little-endian bytes (astype with '<' in NumPy)" : "");
}

// Strides of Fortran order: the first dimension is the innermost.
Dims fortran_strides(const Dims& dims) {
  Dims strides(dims.size());
  int64_t stride = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(dims[i], 1);
  }
  return strides;
}

}  // namespace

SourceTensor parse_npy(const Record& file, const std::string& where) {
  const auto fail = [&](ErrorCode code, const auto&... parts) {
    base::fail("sources", code, where, ": .npy: ", parts...);
  };
  const uint64_t size = file.bytes.size();
  if (size < 10 || !file.text().starts_with(kMagic)) fail(ErrorCode::Corrupt, "no magic bytes");
  const auto major = load<uint8_t>(file.bytes, 6);
  if (major < 1 || major > 3) {
    fail(ErrorCode::Version, "want version 1 to 3, have ", static_cast<int>(major));
  }
  const uint64_t prefix = major == 1 ? 10 : 12;
  if (size < prefix) fail(ErrorCode::Corrupt, "truncated");
  const uint64_t length =
      major == 1 ? load<uint16_t>(file.bytes, 8) : load<uint32_t>(file.bytes, 8);
  if (length > kMaxHeaderBytes || !fits(prefix, length, size)) {
    fail(ErrorCode::Corrupt, "want a header of ", length, " bytes, have ", size - prefix,
         " (at most ", kMaxHeaderBytes, ")");
  }
  const Header header = HeaderParser(file.text().substr(prefix, length), where).parse();
  const DType dtype = dtype_of(header.descr, where);
  const Dims& dims = header.shape;
  const uint64_t have = size - prefix - length;
  const auto bytes = try_byte_count(dtype, dims);
  if (!bytes || *bytes != have) {
    fail(ErrorCode::Corrupt, name(dtype), to_string(dims), " does not take ", have, " bytes");
  }
  return tensor_over(file, prefix + length, dtype, dims,
                     header.fortran_order ? fortran_strides(dims) : contiguous_strides(dims), where,
                     "data");
}

SourceTensor read_npy(const std::string& path) {
  const auto file = base::MappedFile::open(path);
  return parse_npy({file->bytes(), file}, path);
}

bool is_npy_dtype(DType dtype) { return find_name(dtype) != nullptr; }

void write_npy(const std::string& path, const TensorView& view) {
  const DTypeName* known = find_name(view.dtype);
  if (known == nullptr) {
    base::fail("sources", ErrorCode::InvalidArgument, path, ": NumPy has no dtype ",
               name(view.dtype), ": cast to f32 first");
  }
  std::string shape;
  for (const int64_t size : view.dims)
    shape += std::to_string(size) + ", ";
  if (view.dims.size() > 1) shape.resize(shape.size() - 2);
  if (view.dims.size() == 1) shape.pop_back();
  std::string header =
      base::cat("{'descr': '", known->name, "', 'fortran_order': False, 'shape': (", shape, "), }");
  constexpr size_t kPrefix = 10, kAlignment = 64;
  while ((kPrefix + header.size() + 1) % kAlignment != 0)
    header += ' ';
  header += '\n';
  const char version[] = {1, 0};
  const auto length = static_cast<uint16_t>(header.size());
  base::AtomicFile file(path);
  file.append(kMagic.data(), kMagic.size());
  file.append(version, sizeof version);
  file.append(&length, sizeof length);
  file.append(header.data(), header.size());
  if (view.count() > 0) {
    if (view.is_contiguous()) {
      file.append(view.data, view.bytes());
    } else {
      file.append(Tensor::copy_of(view).view().data, view.bytes());
    }
  }
  file.commit();
}

}  // namespace regraft::sources
