#include "support/conformance.h"

#include <filesystem>
#include <fstream>

#include <fnmatch.h>
#include <gtest/gtest.h>

#include "compilation/pipeline.h"
#include "engine/image.h"
#include "pipeline/pipeline.h"
#include "support/compare.h"
#include "support/evaluator.h"

namespace regraft::test {
namespace {

bool is_static(const SymDims& dims) {
  for (const SymInt& size : dims) {
    if (!size.is_constant()) return false;
  }
  return true;
}

// The text of `graph` with every input for which `chosen` says so as a parameter.
std::string with_parameters(const std::string& text, const ir::Graph& graph,
                            const std::vector<bool>& chosen) {
  std::string parameters, header;
  std::string body = text.substr(text.find('{'));
  for (size_t i = 0; i < chosen.size(); ++i) {
    const ir::Value* input = graph.inputs()[i];
    const std::string declaration = input->name() + ": " + input->type().str();
    if (!chosen[i]) {
      header += (header.empty() ? "%" : ", %") + declaration;
      continue;
    }
    parameters += "@" + declaration + "\n";
    const std::string name = "%" + input->name();
    for (size_t at = body.find(name); at != std::string::npos; at = body.find(name, at + 1)) {
      const size_t end = at + name.size();
      const bool longer = end < body.size() && (std::isalnum(body[end]) != 0 || body[end] == '_');
      if (!longer) body[at] = '@';
    }
  }
  return "parameters {\n" + parameters + "}\ngraph(" + header + ") " + body;
}

struct Skip {
  std::string pattern, reason;
};

std::vector<Skip> read_skips(const std::string& backend) {
  const auto folder = std::filesystem::path(REGRAFT_TEST_DATA) / "conformance/skips";
  std::ifstream in(folder / (backend + ".txt"));
  std::vector<Skip> skips;
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.empty() || line.front() == '#') continue;
    if (colon == std::string::npos || colon + 2 >= line.size()) {
      base::fail("conformance", ErrorCode::InvalidArgument, "a skip needs a reason: ", line);
    }
    skips.push_back({line.substr(0, colon), line.substr(colon + 2)});
  }
  return skips;
}

bool matches(const Skip& skip, const Case& c) {
  return fnmatch(skip.pattern.c_str(), c.name.c_str(), 0) == 0;
}

// Why the backend's results are wrong, or the empty string.
std::string failure(const BackendUnderTest& backend, const Case& c, const PreparedCase& prepared) {
  try {
    const std::vector<Tensor> have = backend.run(prepared);
    if (have.size() != prepared.want.size()) return "another number of outputs";
    std::map<std::string, double> tolerance = backend.tolerance;
    for (const auto& [dtype, allowed] : c.tolerance) {
      tolerance[dtype] = std::max(tolerance[dtype], allowed);
    }
    for (size_t i = 0; i < have.size(); ++i) {
      const std::string text = mismatch(prepared.want[i].view(), have[i].view(), tolerance);
      if (!text.empty()) return base::cat("output ", i, ": ", text);
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

constexpr std::pair<Feed, std::string_view> kFeeds[] = {
    {Feed::Inputs, "inputs"},
    {Feed::FirstIsInput, "parameters but for the first input"},
    {Feed::Parameters, "parameters"}};

}  // namespace

std::unique_ptr<PreparedCase> prepare_case(const Case& c, Feed feed) {
  const auto plain = c.parse();
  const size_t count = plain->inputs().size();
  if (feed != Feed::Inputs && count < (feed == Feed::FirstIsInput ? 2u : 1u)) return nullptr;
  auto out = std::make_unique<PreparedCase>();
  out->memory = make_inputs(c, *plain);
  std::vector<TensorView> all;
  for (const StoredTensor& tensor : out->memory)
    all.push_back(tensor.view);
  out->want = evaluate(*plain, all, c.sizes);

  std::vector<bool> chosen(count, feed != Feed::Inputs);
  if (feed == Feed::FirstIsInput) chosen[0] = false;
  for (size_t i = 0; i < count; ++i) {
    if (chosen[i] && !is_static(plain->inputs()[i]->dims())) return nullptr;
    if (chosen[i]) {
      out->parameters[plain->inputs()[i]->name()] = all[i];
    } else {
      out->inputs.push_back(all[i]);
    }
  }
  out->graph = ir::parse(with_parameters(c.graph, *plain, chosen));
  for (const auto& [symbol, size] : c.sizes) {
    plan::Symbol range;
    range.name = symbol;
    range.min = size;  // Sizes below need not make sense for the graph.
    out->graph->set_symbol(range);
  }
  return out;
}

Engine make_engine(const std::string& backend, const PreparedCase& c,
                   const compilation::Settings& settings) {
  const auto graph = c.graph->clone();
  compilation::optimise(*graph, settings);
  engine::Image image;
  image.plan = pipeline::compile_backend(backend).compile(*graph, settings);
  image.name = "case";
  std::vector<std::pair<std::string, SourceTensor>> weights;
  for (const auto& [name, view] : c.parameters) {
    const auto copy = std::make_shared<Tensor>(Tensor::copy_of(view));
    weights.push_back({name, {copy->view(), copy, true}});
  }
  image.weights = make_source(std::move(weights));
  return engine::create(std::move(image));
}

std::vector<Tensor> run_on_engine(const std::string& backend, const PreparedCase& c,
                                  const compilation::Settings& settings) {
  return make_engine(backend, c, settings).run(c.inputs);
}

void check_conformance(const BackendUnderTest& backend, const std::string& file) {
  const std::vector<Skip> skips = read_skips(backend.name);
  int runs = 0, skipped = 0;
  for (const Case& c : load_cases(file)) {
    const auto skip =
        std::find_if(skips.begin(), skips.end(), [&](const Skip& s) { return matches(s, c); });
    std::string problems;
    for (const auto& [feed, name] : kFeeds) {
      const auto prepared = prepare_case(c, feed);
      if (prepared == nullptr) continue;
      ++runs;
      const std::string text = failure(backend, c, *prepared);
      if (!text.empty()) problems += base::cat(c.name, " (", name, "): ", text, "\n");
    }
    if (skip == skips.end()) {
      EXPECT_EQ(problems, "");
    } else {
      EXPECT_NE(problems, "") << c.name << " passes; take out the skip '" << skip->pattern << "'";
      ++skipped;
    }
  }
  testing::Test::RecordProperty("runs", runs);
  testing::Test::RecordProperty("skipped", skipped);
}

std::vector<std::string> unused_skips(const std::string& backend) {
  std::vector<Skip> skips = read_skips(backend);
  for (const std::string& file : case_files()) {
    for (const Case& c : load_cases(file)) {
      std::erase_if(skips, [&](const Skip& skip) { return matches(skip, c); });
    }
  }
  std::vector<std::string> patterns;
  for (const Skip& skip : skips)
    patterns.push_back(skip.pattern);
  return patterns;
}

}  // namespace regraft::test
