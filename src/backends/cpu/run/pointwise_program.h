#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/tensor.h"

namespace regraft::cpu {

// What a register of a pointwise program holds: f32 for all floats up to 32 bits, i64 for all
// integers, one byte for bool.
enum class Lane : uint8_t { F32, I64, Bool };
Lane lane_of(DType dtype);  // Of f16, bf16, f32, integers and bool.
size_t lane_size(Lane lane);
DType lane_dtype(Lane lane);

// A chain of pointwise ops over broadcast inputs, as text:
//
//     "mul i0 i1; add r0 0.5; silu r1 -> r2"
//
// iN is input N, rN the result of instruction N, a number a constant; behind the arrow stand the
// results, one per output. Ops are those of the catalogue, with attributes as further numbers
// ("clamp r0 0 6", "elu r0 0.5"), casts and the flavours of gelu and div part of the
// name ("cast:i32 r1", "gelu_tanh r0", "div_floor r0 2"). Intermediate results are not rounded to
// 16 bits but by "cast:bf16" and "cast:f16".
struct PointwiseProgram {
  struct Source {
    enum class Kind : uint8_t { Input, Register, Number } kind = Kind::Number;
    int index = 0;  // Of the input, the register or the number.
  };
  struct Instruction {
    std::string op;
    std::vector<Source> sources;
    Lane lane = Lane::F32;  // In which it calculates.
    Lane result = Lane::F32;
  };
  struct Number {
    double value = 0;
    Lane lane = Lane::F32;
  };
  std::vector<Instruction> instructions;
  std::vector<Number> numbers;
  std::vector<Source> results;

  // Types the registers from the lanes of the inputs. Throws Error{Unsupported} for text that is
  // not a program over these inputs.
  static PointwiseProgram parse(std::string_view text, std::span<const Lane> inputs);
  Lane lane(const Source& source, std::span<const Lane> inputs) const;
};

}  // namespace regraft::cpu
