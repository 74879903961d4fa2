#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cpu/run/isa.h"
#include "backends/cpu/run/pointwise_program.h"

namespace regraft::cpu {

// An operand of one instruction on one tile: `count` lanes, or one lane that stands for all.
struct TileOperand {
  const void* data = nullptr;
  bool is_single = false;
};

// Computes `count` lanes of the result.
using TileFunction = void (*)(void* out, const TileOperand* sources, int64_t count);

struct TileOp {
  Lane result = Lane::F32;
  TileFunction function = nullptr;
};

// The lanes to which the sources of op `name` must be converted, given what they are. Nothing when
// there is no such op of so many sources, or it does not take them. The last one is the lane in
// which the op calculates.
std::optional<std::vector<Lane>> tile_op_lanes(std::string_view name,
                                               std::span<const Lane> sources);
// The op, calculating in `lane` as tile_op_lanes() answered.
TileOp tile_op(std::string_view name, Lane lane, Isa isa);

}  // namespace regraft::cpu
