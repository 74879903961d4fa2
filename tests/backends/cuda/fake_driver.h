#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <dlfcn.h>

#include "backends/cuda/compile/backend.h"
#include "compilation/pipeline.h"
#include "engine/image.h"
#include "ir/text.h"
#include "regraft/engine.h"
#include "regraft/error.h"

namespace regraft::cuda {

// From now on this process finds the driver of fake_driver/, which says `settings` of itself, and
// the libraries of PyTorch's wheels behind it. For children of death tests.
inline void use_fake_driver(const std::string& settings = "", bool with_wheels = true,
                            const char* driver = REGRAFT_FAKE_DRIVER) {
  const char* const wheels = std::getenv("REGRAFT_CUDA_PATH");
  std::string path = driver;
  if (with_wheels && wheels != nullptr) path += std::string(":") + wheels;
  setenv("FAKE_CUDA", settings.c_str(), 1);
  setenv("REGRAFT_CUDA_PATH", path.c_str(), 1);
}

// What a child of a death test does: `body` writes to standard error, where a failure goes, too.
template <typename Body>
[[noreturn]] void speak_with_fake_driver(const Body& body) {
  use_fake_driver();
  try {
    body();
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
  }
  std::fflush(stderr);
  std::_Exit(0);
}

// How often the fake driver was asked for "memory", "copy", ...; -1: there is none.
inline long fake_calls(const char* kind) {
  using Count = long (*)(const char*);
  const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "fakeCudaCalls"));
  return count == nullptr ? -1 : count(kind);
}

// How often the fake driver was told to let `stream` wait for `other`.
inline long fake_orders(void* stream, void* other) {
  using Count = long (*)(void*, void*);
  const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "fakeCudaOrders"));
  return count == nullptr ? -1 : count(stream, other);
}

inline Engine engine_of(std::string_view text, std::shared_ptr<const WeightSource> weights,
                        const EngineOptions& options = {}) {
  const auto graph = ir::parse(text);
  const compilation::Settings settings;
  compilation::optimise(*graph, settings);
  engine::Image image;
  image.plan = compile_backend().compile(*graph, settings);
  image.name = "test";
  image.weights = std::move(weights);
  return engine::create(std::move(image), options);
}

}  // namespace regraft::cuda
