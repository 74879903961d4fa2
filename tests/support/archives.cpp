#include "support/archives.h"

#include <cstring>

#include <zlib.h>

#include "base/text.h"

namespace regraft::sources {
namespace {

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string deflated(std::string_view data) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string symbolic(const Dims& values) {
  std::vector<std::string> parts;
  for (const int64_t value : values)
    parts.push_back(base::cat("{\"as_int\":", value, "}"));
  return "[" + base::join(parts, ",") + "]";
}

}  // namespace

void ZipWriter::add(std::string_view name, std::string_view data, const ZipStyle& style) {
  const std::string stored = style.deflate ? deflated(data) : std::string(data);
  const auto crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
  const uint64_t header = bytes_.size();
  const uint16_t flags = style.descriptor ? 8 : 0, method = style.deflate ? 8 : 0;
  const auto small = [&](uint64_t value) {
    return style.zip64 ? 0xffffffffu : static_cast<uint32_t>(value);
  };
  std::string extra;
  const size_t unpadded = header + 30 + name.size() + 4;
  const size_t padding = (style.alignment - unpadded % style.alignment) % style.alignment;
  put<uint16_t>(extra, 'F' | 'B' << 8);
  put<uint16_t>(extra, static_cast<uint16_t>(padding));
  extra.append(padding, 'Z');

  const auto common = [&](std::string& out, uint32_t sum, uint32_t in, uint32_t full) {
    put<uint16_t>(out, 20);
    put(out, flags);
    put(out, method);
    put<uint32_t>(out, 0);
    put(out, sum);
    put(out, in);
    put(out, full);
    put(out, static_cast<uint16_t>(name.size()));
  };
  put<uint32_t>(bytes_, 0x04034b50);
  const bool late = style.descriptor;
  common(bytes_, late ? 0 : crc, late ? 0 : static_cast<uint32_t>(stored.size()),
         late ? 0 : static_cast<uint32_t>(data.size()));
  put(bytes_, static_cast<uint16_t>(extra.size()));
  bytes_.append(name).append(extra).append(stored);
  if (late) {
    put<uint32_t>(bytes_, 0x08074b50);
    put(bytes_, crc);
    put<uint64_t>(bytes_, stored.size());
    put<uint64_t>(bytes_, data.size());
  }

  std::string field;
  if (style.zip64) {
    put<uint16_t>(field, 1);
    put<uint16_t>(field, 24);
    put<uint64_t>(field, data.size());
    put<uint64_t>(field, stored.size());
    put<uint64_t>(field, header);
  }
  put<uint32_t>(directory_, 0x02014b50);
  put<uint16_t>(directory_, 20);
  common(directory_, crc, small(stored.size()), small(data.size()));
  put(directory_, static_cast<uint16_t>(field.size()));
  for (int i = 0; i < 3; ++i)
    put<uint16_t>(directory_, 0);  // Comment, disk, attributes.
  put<uint32_t>(directory_, 0);
  put(directory_, small(header));
  directory_.append(name).append(field);
  ++entries_;
}

std::string ZipWriter::finish(bool zip64, std::string_view comment) const {
  std::string out = bytes_ + directory_;
  if (zip64) {
    const uint64_t at = out.size();
    put<uint32_t>(out, 0x06064b50);
    put<uint64_t>(out, 44);
    put<uint32_t>(out, 45 << 16 | 45);
    put<uint64_t>(out, 0);  // Disks.
    put(out, entries_);
    put(out, entries_);
    put<uint64_t>(out, directory_.size());
    put<uint64_t>(out, bytes_.size());
    put<uint32_t>(out, 0x07064b50);
    put<uint32_t>(out, 0);
    put(out, at);
    put<uint32_t>(out, 1);
  }
  put<uint32_t>(out, 0x06054b50);
  put<uint32_t>(out, 0);
  const auto count = static_cast<uint16_t>(zip64 ? 0xffff : entries_);
  put(out, count);
  put(out, count);
  put(out, static_cast<uint32_t>(zip64 ? 0xffffffff : directory_.size()));
  put(out, static_cast<uint32_t>(zip64 ? 0xffffffff : bytes_.size()));
  put(out, static_cast<uint16_t>(comment.size()));
  return out.append(comment);
}

std::string payload_config(const std::vector<PayloadSpec>& specs) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::vector<std::string> members;
  for (const PayloadSpec& s : specs) {
    members.push_back(
        base::cat("\"", s.name, "\":{\"path_name\":\"", s.path,
                  "\",\"is_param\":", flag(s.is_parameter), ",\"use_pickle\":", flag(s.use_pickle),
                  ",\"tensor_meta\":{\"dtype\":", s.dtype, ",\"sizes\":", symbolic(s.sizes),
                  ",\"requires_grad\":true,\"device\":{\"type\":\"cpu\","
                  "\"index\":null},\"strides\":",
                  symbolic(s.strides), ",\"storage_offset\":{\"as_int\":", s.offset,
                  "},\"layout\":", s.layout, "}}"));
  }
  return "{\"config\":{" + base::join(members, ",") + "}}";
}

std::string Pt2Writer::finish() const {
  ZipWriter zip;
  for (const auto& [path, data] : records)
    zip.add(root + path, data, style);
  zip.add(root + "data/weights/" + model + "_weights_config.json", payload_config(weights), style);
  zip.add(root + "data/constants/" + model + "_constants_config.json", payload_config(constants),
          style);
  zip.add(root + "models/" + model + ".json", json, style);
  zip.add(root + "archive_format", format, style);
  zip.add(root + "archive_version", version, style);
  if (!byteorder.empty()) zip.add(root + "byteorder", byteorder, style);
  return zip.finish(style.zip64);
}

Pt2Writer small_pt2() {
  Pt2Writer writer;
  writer.weights = {
      {"conv.weight", "weight_0", {2, 3}, {3, 1}}, {"tied.weight", "weight_0", {2, 3}, {3, 1}},
      {"slice", "weight_0", {2, 2}, {3, 1}, 1},    {"transposed", "weight_0", {3, 2}, {1, 3}},
      {"steps", "weight_1", {}, {}, 0, 5, false},  {"empty", "weight_2", {0, 4}, {4, 1}},
  };
  writer.constants = {{"mask", "tensor_0", {4}, {1}, 0, 12, false}};
  writer.records = {
      {"data/weights/weight_0", bytes_of({0, 1, 2, 3, 4, 5})},
      {"data/weights/weight_1", std::string("\x07\0\0\0\0\0\0\0", 8)},
      {"data/weights/weight_2", ""},
      {"data/constants/tensor_0", std::string("\0\1\1\0", 4)},
  };
  return writer;
}

std::string small_safetensors() {
  std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]},)"
      R"("c":{"dtype":"I64","shape":[],"data_offsets":[19,27]},)"
      R"("e":{"dtype":"BF16","shape":[0,2],"data_offsets":[27,27]}})";
  std::string out;
  put<uint64_t>(out, header.size());
  out += header + bytes_of({1, 2, 3, 4});
  out.append("\0\1\1", 3);
  put<int64_t>(out, -5);
  return out;
}

std::string small_npy() {
  std::string header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
  while ((10 + header.size() + 1) % 64 != 0)
    header += ' ';
  header += '\n';
  std::string out("\x93NUMPY\1\0", 8);
  put(out, static_cast<uint16_t>(header.size()));
  return out + header + bytes_of({0, 1, 2, 3, 4, 5});
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace regraft::sources
