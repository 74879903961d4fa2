#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "regraft/engine.h"

namespace regraft::engine {

// What the compiler hands over and what an engine file holds: a plan, texts about it, and where the
// first weights come from. Plain data.
struct Image {
  plan::Plan plan;
  std::string name;  // Of the program, for messages.
  // Texts by key, stored in the file as they are ("signature", "settings", "nodes", ...). Must not
  // depend on weight values.
  std::map<std::string, std::string> metadata;
  // Parameters of the program that the plan does not read: a refit takes their names for known.
  std::vector<std::string> unused_parameters;
  // Every parameter of the plan, by canonical name or alias, in its declared dtype and dims. Of a
  // stripped engine: optional parameters at most, or null.
  std::shared_ptr<const WeightSource> weights;
  // The engine has no weights before its first refit.
  bool stripped = false;
  // The parameters are the final constants of another plan: refits are refused.
  bool immutable = false;
  // Choices made on some machine (plan::Realised as text); used where the machine matches.
  std::string realised;
  // The plan was compiled earlier and found in a cache. Of this engine only: files do not hold it.
  bool from_cache = false;
};

// Realises the plan on this machine (packings, kernels) and, unless stripped, runs the weight
// program on the weights. Throws Error{Corrupt} for a plan that plan::verify refuses, Error
// {Unsupported} for a step without a kernel, and what a refit throws.
Engine create(Image image, const EngineOptions& options = {});

}  // namespace regraft::engine
