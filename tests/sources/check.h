#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fuzz/consume.h"
#include "regraft/error.h"
#include "tensor/copy.h"

namespace regraft::sources {

// The error that `call` throws, as "code: message", or "no error".
template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.stage(), "sources");
    return std::string(name(error.code())) + ": " + error.what();
  }
  return "no error";
}

inline Record exact(const std::string& bytes) { return fuzz::exact(bytes.data(), bytes.size()); }

// The elements of a view in row-major order, as f64.
inline std::vector<double> values(const TensorView& view) {
  std::vector<double> out(static_cast<size_t>(view.count()));
  copy(view, MutableTensorView(out.data(), DType::F64, view.dims));
  return out;
}

// Calls `read` on every truncation of `bytes`, each of which must throw Error, and on every copy
// with one bit flipped (every n-th bit with `step` n), each of which must return or throw Error.
template <typename Read>
void read_variants(const std::string& bytes, const Read& read, size_t step = 1) {
  int accepted = 0;
  const auto attempt = [&](const std::string& variant) {
    try {
      read(exact(variant));
      ++accepted;
    } catch (const Error&) {
    }
  };
  for (size_t size = 0; size < bytes.size(); ++size) {
    attempt(bytes.substr(0, size));
  }
  EXPECT_EQ(accepted, 0) << "a truncated file was read";
  for (size_t bit = 0; bit < bytes.size() * 8; bit += step) {
    std::string variant = bytes;
    variant[bit / 8] = static_cast<char>(variant[bit / 8] ^ (1 << bit % 8));
    attempt(variant);
  }
}

}  // namespace regraft::sources
