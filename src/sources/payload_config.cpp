#include "sources/payload_config.h"

#include <array>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "sources/json.h"
#include "sources/layout.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

constexpr int64_t kStridedLayout = 7;

// The schema's own numbering of ScalarType, not c10's.
std::optional<DType> try_scalar_type(int64_t id) {
  struct Known {
    int64_t id;
    DType dtype;
  };
  static constexpr Known kKnown[] = {
      {1, DType::U8},        {2, DType::I8},      {3, DType::I16},   {4, DType::I32},
      {5, DType::I64},       {6, DType::F16},     {7, DType::F32},   {8, DType::F64},
      {10, DType::C64},      {11, DType::C128},   {12, DType::Bool}, {13, DType::BF16},
      {29, DType::F8E4M3FN}, {30, DType::F8E5M2},
  };
  for (const Known& known : kKnown) {
    if (known.id == id) return known.dtype;
  }
  return std::nullopt;
}

class EntryReader {
 public:
  EntryReader(const JsonMember& member, const std::string& where)
      : member_(member), name_(printable(member.key)), where_(where) {}

  PayloadMeta read() const {
    PayloadMeta out;
    out.name = member_.key;
    const Json* path = member_.value.find("path_name");
    const Json* is_parameter = member_.value.find("is_param");
    const Json* use_pickle = member_.value.find("use_pickle");
    const Json* meta = member_.value.find("tensor_meta");
    if (path == nullptr || path->string() == nullptr || is_parameter == nullptr ||
        is_parameter->boolean() == nullptr || use_pickle == nullptr ||
        use_pickle->boolean() == nullptr || meta == nullptr) {
      fail(ErrorCode::Corrupt, "want path_name, is_param, use_pickle and tensor_meta");
    }
    out.path = *path->string();
    out.is_parameter = *is_parameter->boolean();
    out.is_tensor = !meta->is_null();
    if (!out.is_tensor) return out;
    if (*use_pickle->boolean()) {
      fail(ErrorCode::Unsupported,
           "a pickled tensor subclass: make it plain tensors before export");
    }
    read_tensor_meta(*meta, out);
    return out;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(ErrorCode code, const Parts&... parts) const {
    base::fail("sources", code, where_, ": ", name_, ": ", parts...);
  }

  void read_tensor_meta(const Json& meta, PayloadMeta& out) const {
    const int64_t scalar_type = integer(meta, "dtype"), layout = integer(meta, "layout");
    const auto dtype = try_scalar_type(scalar_type);
    if (!dtype) {
      fail(ErrorCode::Unsupported, "dtype number ", scalar_type, " of PyTorch's export schema");
    }
    if (layout != kStridedLayout) {
      fail(ErrorCode::Unsupported, "layout: want ", kStridedLayout, " (strided), have ", layout);
    }
    out.dtype = *dtype;
    out.dims = sizes(meta, "sizes");
    out.strides = sizes(meta, "strides");
    out.storage_offset = size(meta.find("storage_offset"), "storage_offset");
    if (out.dims.size() != out.strides.size() || !try_byte_count(*dtype, out.dims)) {
      fail(ErrorCode::Corrupt, "sizes ", to_string(out.dims), " and strides ",
           to_string(out.strides), " make no tensor");
    }
  }

  int64_t integer(const Json& meta, std::string_view key) const {
    const Json* value = meta.find(key);
    if (value == nullptr || value->integer() == nullptr) {
      fail(ErrorCode::Corrupt, "tensor_meta: want an integer ", key);
    }
    return *value->integer();
  }

  // A SymInt of the schema: {"as_int": n}.
  int64_t size(const Json* value, std::string_view key) const {
    if (value != nullptr && value->find("as_expr") != nullptr) {
      fail(ErrorCode::Unsupported, "symbolic ", key);
    }
    const Json* exact = value == nullptr ? nullptr : value->find("as_int");
    if (exact == nullptr || exact->integer() == nullptr || *exact->integer() < 0) {
      fail(ErrorCode::Corrupt, "tensor_meta: want integers >= 0 in ", key);
    }
    return *exact->integer();
  }

  Dims sizes(const Json& meta, std::string_view key) const {
    const Json* values = meta.find(key);
    if (values == nullptr || values->array() == nullptr || values->array()->size() > kMaxRank) {
      fail(ErrorCode::Corrupt, "tensor_meta: want a list of at most ", kMaxRank, " ", key);
    }
    Dims out;
    for (const Json& value : *values->array())
      out.push_back(size(&value, key));
    return out;
  }

  const JsonMember& member_;
  const std::string name_;
  const std::string& where_;
};

}  // namespace

std::vector<PayloadMeta> parse_payload_config(std::string_view text, const std::string& where) {
  const Json root = Json::parse(text, where);
  const Json* config = root.find("config");
  if (config == nullptr || config->object() == nullptr) {
    base::fail("sources", ErrorCode::Corrupt, where, ": want an object 'config'");
  }
  std::vector<PayloadMeta> out;
  out.reserve(config->object()->size());
  for (const JsonMember& member : *config->object()) {
    out.push_back(EntryReader(member, where).read());
  }
  return out;
}

}  // namespace regraft::sources
