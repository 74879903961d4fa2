#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "regraft/tensor.h"

namespace regraft::cli::test {

struct Outcome {
  int code = -1;
  std::string out, err;
};

// Runs `regraft <arguments>` of this build in `folder`.
Outcome regraft(const std::string& folder, const std::string& arguments);

// A fresh folder for the running test, with the files of one small model:
//     model.pt2          relu(linear(x)) * scale, x: f32[s0,4], s0 in [1,8]
//     other.safetensors  other weights for it
//     x.npy              an input, f32[2,4]
std::string model_folder();
// What the model gives for x.npy with the weights of model.pt2 (factor 1) or of other.safetensors
// (factor 2): the other weights are twice the first.
std::vector<float> expected(float factor);

// A program that uses an op nobody knows, twice, in module "decoder.head".
void write_unsupported(const std::string& path);
// A program whose output is its input, of a dtype that NumPy does not have: x: f8e4m3fn[4].
void write_float8(const std::string& path);
// Named f32 tensors.
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors);
Tensor tensor(Dims dims, const std::vector<float>& values);
std::vector<float> read_floats(const std::string& npy);
std::string read_file(const std::string& path);
void write_file(const std::string& path, std::string_view bytes);

}  // namespace regraft::cli::test
