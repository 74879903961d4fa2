// Serves an engine from several threads and gives it new weights while they run.
//
//   example_serve model.rgf new.safetensors [threads] [seconds]
//
// Uses the public headers and libregraft_runtime only: no compiler, no Python, no PyTorch.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>
#include <vector>

#include "regraft/engine.h"
#include "regraft/error.h"
#include "regraft/weight_source.h"

namespace {

using Clock = std::chrono::steady_clock;

// One request: zeros of the smallest shapes that the engine takes.
std::vector<regraft::Tensor> make_request(const regraft::Engine& engine) {
  const regraft::Signature signature = engine.signature();
  std::vector<regraft::Tensor> inputs;
  for (const regraft::TensorSpec& spec : signature.inputs) {
    regraft::Dims dims;
    for (const std::string& size : spec.dims) {
      const auto symbol = std::find_if(signature.symbols.begin(), signature.symbols.end(),
                                       [&](const auto& s) { return s.name == size; });
      if (symbol != signature.symbols.end()) {
        dims.push_back(std::max<int64_t>(symbol->min, 1));
      } else {
        dims.push_back(std::stoll(size));  // This example leaves expressions aside.
      }
    }
    inputs.emplace_back(spec.dtype, dims);
    std::memset(inputs.back().mutable_view().mutable_data(), 0, inputs.back().view().bytes());
  }
  return inputs;
}

// Answers requests until told to stop. The session keeps its memory warm between requests.
void serve(const regraft::Engine& engine, const std::atomic<bool>& stop,
           std::atomic<long>& answered) {
  const std::vector<regraft::Tensor> request = make_request(engine);
  std::vector<regraft::TensorView> inputs;
  std::vector<regraft::Dims> dims;
  for (const regraft::Tensor& tensor : request) {
    inputs.push_back(tensor.view());
    dims.push_back(tensor.dims());
  }
  const std::vector<regraft::Dims> output_dims = engine.output_dims(dims);
  const std::vector<regraft::TensorSpec> specs = engine.signature().outputs;
  std::vector<regraft::Tensor> response;
  std::vector<regraft::MutableTensorView> outputs;
  for (size_t i = 0; i < specs.size(); ++i) {
    response.emplace_back(specs[i].dtype, output_dims[i]);
    outputs.push_back(response.back().mutable_view());
  }
  regraft::Session session = engine.session();
  while (!stop) {
    session.run(inputs, outputs);  // All of it with the weights of one generation.
    ++answered;
  }
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " model.rgf new.safetensors [threads] [seconds]\n";
    return 2;
  }
  const int threads = argc > 3 ? std::max(1, std::atoi(argv[3])) : 2;
  const double seconds = argc > 4 ? std::atof(argv[4]) : 2.0;

  regraft::Engine engine = regraft::Engine::load(argv[1]);
  const auto weights = regraft::open_source(argv[2]);
  std::cout << "serving " << engine.name() << " on " << threads << " threads\n";

  std::atomic<bool> stop{false};
  std::atomic<long> answered{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] { serve(engine, stop, answered); });
  }
  const auto start = Clock::now();
  int refits = 0;
  std::string last;
  while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    // A checkpoint may hold more than the engine reads.
    regraft::RefitOptions options;
    options.allow_unexpected = true;
    last = to_string(engine.refit(*weights, options));
    ++refits;
  }
  stop = true;
  for (std::thread& worker : workers)
    worker.join();
  std::cout << answered << " requests answered, " << refits << " refits meanwhile\n" << last;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
