#include "cli/shell.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/text.h"
#include "sources/npy.h"
#include "support/archives.h"
#include "support/program_json.h"

namespace regraft::cli::test {
namespace {

namespace fs = std::filesystem;
using regraft::test::ProgramJson;

// Beside the folder of this test: build/<preset>/regraft.
std::string binary() {
  return (fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "regraft").string();
}

const std::vector<float> kInput = {1, 2, 3, 4, -1, 0.5, 0, -2};
const std::vector<float> kWeight = {0.5, -1, 2, 0, 1, 1, 1, 1, -3, 0, 0.25, 0.5};
const std::vector<float> kBias = {0.5, -1, 8};

std::vector<float> times(std::vector<float> values, float factor) {
  for (float& value : values)
    value *= factor;
  return values;
}

void write_model(const std::string& path) {
  ProgramJson json;
  json.input("x", "f32[s0,4]");
  json.parameter("w", "lin.weight", "f32[3,4]").parameter("b", "lin.bias", "f32[3]");
  json.range("s0", 1, 8);
  json.at("lin", "model.py", 3);
  json.node("aten.linear.default", "input=%x, weight=%w, bias=%b", "y: f32[s0,3]");
  json.node("aten.relu.default", "self=%y", "r: f32[s0,3]");
  json.output("r");
  sources::Pt2Writer writer;
  writer.json = json.str();
  writer.weights = {{"lin.weight", "weight_0", {3, 4}, {4, 1}}, {"lin.bias", "weight_1", {3}, {1}}};
  writer.records = {{"data/weights/weight_0", sources::bytes_of(kWeight)},
                    {"data/weights/weight_1", sources::bytes_of(kBias)}};
  write_file(path, writer.finish());
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Outcome regraft(const std::string& folder, const std::string& arguments) {
  const std::string command =
      base::cat("cd ", folder, " && ", binary(), " ", arguments, " >stdout 2>stderr");
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder + "/stdout"),
          read_file(folder + "/stderr")};
}

Tensor tensor(Dims dims, const std::vector<float>& values) {
  Tensor out(DType::F32, std::move(dims));
  std::copy(values.begin(), values.end(), out.mutable_view().as_mutable<float>());
  return out;
}

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<std::string> entries;
  std::string data;
  for (const auto& [name, value] : tensors) {
    const size_t begin = data.size();
    data.append(static_cast<const char*>(value.view().data), value.view().bytes());
    entries.push_back(base::cat("\"", name,
                                "\":{\"dtype\":\"F32\",\"shape\":", to_string(value.dims()),
                                ",\"data_offsets\":[", begin, ",", data.size(), "]}"));
  }
  const std::string header = "{" + base::join(entries, ",") + "}";
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  write_file(path, bytes + header + data);
}

std::string model_folder() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder = fs::path(testing::TempDir()) / base::cat("regraft_cli_", info->name());
  fs::remove_all(folder);
  fs::create_directories(folder);
  write_model((folder / "model.pt2").string());
  write_safetensors((folder / "other.safetensors").string(),
                    {{"lin.weight", tensor({3, 4}, times(kWeight, 2))},
                     {"lin.bias", tensor({3}, times(kBias, 2))}});
  sources::write_npy((folder / "x.npy").string(), tensor({2, 4}, kInput).view());
  return folder.string();
}

std::vector<float> expected(float factor) {
  std::vector<float> out;
  for (size_t row = 0; row < 2; ++row) {
    for (size_t column = 0; column < 3; ++column) {
      float sum = kBias[column];
      for (size_t i = 0; i < 4; ++i)
        sum += kInput[row * 4 + i] * kWeight[column * 4 + i];
      out.push_back(std::max(0.0f, sum * factor));
    }
  }
  return out;
}

void write_unsupported(const std::string& path) {
  ProgramJson json;
  json.input("x", "f32[2,4]");
  json.functional();
  json.at("decoder.head", "model.py", 7);
  json.node("mylib.strange.default", "x=%x", "y: f32[2,4]");
  json.node("mylib.strange.default", "x=%y", "z: f32[2,4]");
  json.output("z");
  sources::Pt2Writer writer;
  writer.json = json.str();
  write_file(path, writer.finish());
}

void write_float8(const std::string& path) {
  ProgramJson json;
  json.input("x", "f8e4m3fn[4]");
  json.node("aten.clone.default", "self=%x", "y: f8e4m3fn[4]");
  json.output("y");
  sources::Pt2Writer writer;
  writer.json = json.str();
  write_file(path, writer.finish());
}

std::vector<float> read_floats(const std::string& npy) {
  const SourceTensor source = sources::read_npy(npy);
  const Tensor copy = Tensor::copy_of(source.view);
  const auto* data = copy.view().as<float>();
  return {data, data + copy.view().count()};
}

}  // namespace regraft::cli::test
