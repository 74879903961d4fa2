#include "sources/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "sources/json.h"
#include "sources/layout.h"
#include "sources/named_source.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

// The format's own bound.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypeNames[] = {
    {"BOOL", DType::Bool},      {"U8", DType::U8},     {"I8", DType::I8},
    {"I16", DType::I16},        {"I32", DType::I32},   {"I64", DType::I64},
    {"F16", DType::F16},        {"BF16", DType::BF16}, {"F32", DType::F32},
    {"F64", DType::F64},        {"C64", DType::C64},   {"F8_E4M3", DType::F8E4M3FN},
    {"F8_E5M2", DType::F8E5M2},
};

struct Item {
  std::string name;
  DType dtype;
  Dims dims;
  uint64_t begin, end;  // Bytes behind the header.
};

class HeaderReader {
 public:
  HeaderReader(const Record& file, const std::string& where) : file_(file), where_(where) {}

  // Fills `items` and returns the bytes behind the header.
  std::span<const std::byte> read(std::vector<Item>& items) const {
    const uint64_t size = file_.bytes.size();
    if (size < 8)
      fail(ErrorCode::Corrupt, "want a header length of 8 bytes, have ", size, " bytes");
    const auto header = load<uint64_t>(file_.bytes, 0);
    if (header > kMaxHeaderBytes || !fits(8, header, size)) {
      fail(ErrorCode::Corrupt, "want a header of ", header, " bytes, have ", size - 8,
           " (the format allows ", kMaxHeaderBytes, ")");
    }
    const Json root = Json::parse(file_.text().substr(8, header), where_);
    if (root.object() == nullptr) fail(ErrorCode::Corrupt, "the header is not an object");
    for (const JsonMember& member : *root.object()) {
      if (member.key != kMetadata) items.push_back(item(member));
    }
    const auto data = file_.bytes.subspan(8 + header);
    check_tiling(items, data.size());
    return data;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(ErrorCode code, const Parts&... parts) const {
    base::fail("sources", code, where_, ": ", parts...);
  }

  Item item(const JsonMember& member) const {
    const std::string name = printable(member.key);
    const Json* dtype = member.value.find("dtype");
    const Json* shape = member.value.find("shape");
    const Json* offsets = member.value.find("data_offsets");
    if (dtype == nullptr || dtype->string() == nullptr || shape == nullptr || offsets == nullptr) {
      fail(ErrorCode::Corrupt, name, ": want dtype, shape and data_offsets");
    }
    const auto known = std::find_if(std::begin(kDTypeNames), std::end(kDTypeNames),
                                    [&](const DTypeName& d) { return d.name == *dtype->string(); });
    if (known == std::end(kDTypeNames)) {
      fail(ErrorCode::Unsupported, name, ": dtype ", printable(*dtype->string()));
    }
    Item item{member.key, known->dtype, integers(*shape, name), 0, 0};
    const Dims range = integers(*offsets, name);
    if (range.size() != 2 || range[0] > range[1]) {
      fail(ErrorCode::Corrupt, name, ": want data_offsets [begin,end], have ", to_string(range));
    }
    item.begin = static_cast<uint64_t>(range[0]);
    item.end = static_cast<uint64_t>(range[1]);
    const auto bytes = try_byte_count(item.dtype, item.dims);
    if (!bytes || *bytes != item.end - item.begin) {
      fail(ErrorCode::Corrupt, name, ": ", regraft::name(item.dtype), to_string(item.dims),
           " does not take ", item.end - item.begin, " bytes");
    }
    return item;
  }

  Dims integers(const Json& list, const std::string& name) const {
    if (list.array() == nullptr || list.array()->size() > kMaxRank) {
      fail(ErrorCode::Corrupt, name, ": want a list of at most ", kMaxRank, " integers");
    }
    Dims out;
    for (const Json& value : *list.array()) {
      if (value.integer() == nullptr || *value.integer() < 0) {
        fail(ErrorCode::Corrupt, name, ": want integers >= 0");
      }
      out.push_back(*value.integer());
    }
    return out;
  }

  // The format demands it, so that a file has no room for anything else.
  void check_tiling(const std::vector<Item>& items, uint64_t size) const {
    std::vector<const Item*> order;
    order.reserve(items.size());
    for (const Item& item : items)
      order.push_back(&item);
    std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
      return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
    });
    uint64_t at = 0;
    for (const Item* item : order) {
      if (item->begin != at) {
        fail(ErrorCode::Corrupt, printable(item->name), ": want data from byte ", at, " on, have ",
             item->begin, " (", item->begin < at ? "overlap" : "hole", ")");
      }
      at = item->end;
    }
    if (at != size) fail(ErrorCode::Corrupt, "want ", at, " bytes of data, have ", size);
  }

  const Record& file_;
  const std::string& where_;
};

std::vector<std::string> names_of(const std::vector<Item>& items) {
  std::vector<std::string> names;
  names.reserve(items.size());
  for (const Item& item : items)
    names.push_back(item.name);
  return names;
}

class SafetensorsSource : public NamedSource {
 public:
  SafetensorsSource(std::string where, Record data, std::vector<Item> items)
      : NamedSource(std::move(where), names_of(items)),
        data_(std::move(data)),
        items_(std::move(items)) {}

  TensorView spec(std::string_view name) const override {
    const Item& item = items_[index(name)];
    return {nullptr, item.dtype, item.dims};
  }

  SourceTensor read(std::string_view name) const override {
    const Item& item = items_[index(name)];
    return tensor_over(data_, item.begin, item.dtype, item.dims, contiguous_strides(item.dims),
                       description(), name);
  }

 private:
  Record data_;
  std::vector<Item> items_;
};

std::optional<std::string_view> try_dtype_name(DType dtype) {
  for (const DTypeName& known : kDTypeNames) {
    if (known.dtype == dtype) return known.name;
  }
  return std::nullopt;
}

using NamedView = std::pair<std::string, TensorView>;

// Tensors in the order of the file: larger elements first, then by name.
std::vector<const NamedView*> file_order(const std::string& path,
                                         const std::vector<NamedView>& tensors) {
  std::set<std::string_view> seen;
  std::vector<const NamedView*> order;
  for (const NamedView& entry : tensors) {
    const auto& [name, view] = entry;
    if (name == kMetadata || !seen.insert(name).second) {
      base::fail("sources", ErrorCode::InvalidArgument, path, ": name '", printable(name),
                 "' is reserved or given twice");
    }
    if (!try_dtype_name(view.dtype)) {
      base::fail("sources", ErrorCode::InvalidArgument, path, ": ", printable(name),
                 ": .safetensors has no dtype ", regraft::name(view.dtype));
    }
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const NamedView* a, const NamedView* b) {
    const size_t x = item_size(a->second.dtype), y = item_size(b->second.dtype);
    return x != y ? x > y : a->first < b->first;
  });
  return order;
}

std::string header_text(const std::vector<const NamedView*>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    pairs.reserve(metadata.size());
    for (const auto& [key, value] : metadata) {
      pairs.push_back(json_quoted(key) + ":" + json_quoted(value));
    }
    members.push_back(base::cat(json_quoted(kMetadata), ":{", base::join(pairs, ","), "}"));
  }
  size_t at = 0;
  for (const NamedView* entry : order) {
    const auto& [name, view] = *entry;
    const size_t end = at + view.bytes();
    members.push_back(base::cat(
        json_quoted(name), ":{\"dtype\":\"", try_dtype_name(view.dtype).value_or(""),
        "\",\"shape\":", to_string(view.dims), ",\"data_offsets\":[", at, ",", end, "]}"));
    at = end;
  }
  std::string text = "{" + base::join(members, ",") + "}";
  constexpr size_t kAlignment = 64;
  while ((8 + text.size()) % kAlignment != 0)
    text += ' ';
  return text;
}

}  // namespace

bool is_safetensors(std::span<const std::byte> bytes) {
  return bytes.size() >= 9 && load<uint64_t>(bytes, 0) <= kMaxHeaderBytes &&
         bytes[8] == std::byte{'{'};
}

std::shared_ptr<const WeightSource> make_safetensors_source(Record file, std::string where) {
  std::vector<Item> items;
  const auto data = HeaderReader(file, where).read(items);
  return std::make_shared<SafetensorsSource>(std::move(where), Record{data, std::move(file.owner)},
                                             std::move(items));
}

void write_safetensors(const std::string& path, const std::vector<NamedView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto order = file_order(path, tensors);
  const std::string header = header_text(order, metadata);
  base::AtomicFile file(path);
  const uint64_t length = header.size();
  file.append(&length, sizeof length);
  file.append(header.data(), header.size());
  for (const NamedView* entry : order) {
    const TensorView& view = entry->second;
    if (view.count() == 0) continue;
    if (view.is_contiguous()) {
      file.append(view.data, view.bytes());
    } else {
      file.append(Tensor::copy_of(view).view().data, view.bytes());
    }
  }
  file.commit();
}

}  // namespace regraft::sources
