#pragma once

#include <memory>
#include <vector>

#include "engine/bank.h"
#include "engine/core.h"
#include "plan/plan.h"

namespace regraft::engine {

// The plan without its weight program: every constant becomes a parameter of the constant's name
// and type. Computes the same bits, and has nothing left to refit.
plan::Plan without_weight_program(const plan::Plan& plan);

// A parameter's value in host memory, copied there if it lies on the device; `owner` then keeps it.
TensorView on_host(const Core& core, size_t parameter, const ParameterValue& value,
                   std::shared_ptr<const void>& owner);

// The logical values of all constants under `bank`, row-major, in host memory, in their own dtypes:
// what the parameters of without_weight_program() are. Throws Error{"engine", State} when a
// parameter was not retained.
std::vector<std::shared_ptr<const Block>> logical_constants(const Core& core, const Bank& bank);

// Throws Error{"engine", State} naming every parameter that `bank` does not have, and `purpose`.
void want_retained(const Core& core, const Bank& bank, std::string_view purpose);

}  // namespace regraft::engine
