#include "plan/realised.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <charconv>

#include "base/fail.h"
#include "base/hash.h"

namespace regraft::plan {
namespace {

constexpr std::string_view kHeader = "regraft realised plan 1";

[[noreturn]] void fail(size_t line, std::string_view what) {
  base::fail("plan", ErrorCode::Corrupt, "realised plan, line ", line, ": ", what);
}

// Splits off the text before the next space.
std::string_view take_word(std::string_view& rest) {
  const size_t space = rest.find(' ');
  const std::string_view word = rest.substr(0, space);
  rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  return word;
}

int64_t take_number(std::string_view& rest, size_t line) {
  const std::string_view word = take_word(rest);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value < 0) {
    fail(line, "want a number");
  }
  return value;
}

std::string choices_text(const Realised& realised) {
  std::string text = base::cat("version ", realised.version, "\nplan ", realised.plan, "\n");
  for (const auto& p : realised.packings) {
    text +=
        base::cat("packing ", p.program, " ", p.step, " ", p.input, " ", p.bytes, " ", p.id, "\n");
  }
  for (const auto& t : realised.tactics) {
    text += base::cat("tactic ", t.program, " ", t.step, " ", t.tactic, "\n");
  }
  return text;
}

#if defined(__x86_64__)
void add_x86_facts(std::string& facts) {
  struct Flag {
    unsigned leaf, subleaf, reg, bit;  // reg: 0 eax, 1 ebx, 2 ecx, 3 edx.
    const char* name;
  };
  static constexpr Flag kFlags[] = {
      {1, 0, 2, 12, "fma"},         {7, 0, 1, 5, "avx2"},        {7, 0, 1, 16, "avx512f"},
      {7, 0, 1, 17, "avx512dq"},    {7, 0, 1, 30, "avx512bw"},   {7, 0, 1, 31, "avx512vl"},
      {7, 0, 2, 11, "avx512_vnni"}, {7, 1, 0, 5, "avx512_bf16"}, {7, 0, 3, 23, "avx512_fp16"},
      {7, 1, 0, 4, "avx_vnni"},     {7, 0, 3, 24, "amx_tile"},   {7, 0, 3, 22, "amx_bf16"},
      {7, 0, 3, 25, "amx_int8"},
  };
  for (const Flag& flag : kFlags) {
    unsigned regs[4] = {};
    if (__get_cpuid_count(flag.leaf, flag.subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) {
      continue;
    }
    if ((regs[flag.reg] >> flag.bit & 1u) != 0) facts += base::cat(" ", flag.name);
  }
}
#endif

}  // namespace

std::string to_text(const Realised& realised) {
  return base::cat(kHeader, "\nmachine ", realised.machine, "\nthreads ", realised.threads, "\n",
                   choices_text(realised));
}

Realised parse_realised(std::string_view text) {
  Realised out;
  size_t line = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view rest = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (++line == 1) {
      if (rest == kHeader) continue;
      base::fail("plan", ErrorCode::Version, "not a realised plan of format 1");
    }
    const std::string_view key = take_word(rest);
    if (key == "version") {
      out.version = rest;
    } else if (key == "machine") {
      out.machine = rest;
    } else if (key == "plan") {
      out.plan = rest;
    } else if (key == "threads") {
      out.threads = take_number(rest, line);
    } else if (key == "packing") {
      Realised::Packing packing;
      packing.program = take_word(rest);
      packing.step = take_number(rest, line);
      packing.input = take_number(rest, line);
      packing.bytes = static_cast<uint64_t>(take_number(rest, line));
      packing.id = rest;
      out.packings.push_back(std::move(packing));
    } else if (key == "tactic") {
      Realised::Tactic tactic;
      tactic.program = take_word(rest);
      tactic.step = take_number(rest, line);
      tactic.tactic = rest;
      out.tactics.push_back(std::move(tactic));
    } else {
      fail(line, "unknown entry");
    }
  }
  if (line == 0) base::fail("plan", ErrorCode::Version, "an empty realised plan");
  return out;
}

std::string digest(const Realised& realised) { return base::digest(choices_text(realised)); }

std::string fingerprint(const Plan& plan) {
  std::string text = to_string(plan);
  for (const Storage& storage : plan.storages) {
    text += base::cat("storage ", static_cast<int>(storage.kind), " ", storage.index, " ",
                      storage.bytes.str(), "\n");
  }
  for (const Buffer& buffer : plan.buffers) {
    text += base::cat("buffer ", buffer.type.str(), " ", to_string(buffer.strides), " ",
                      buffer.offset.str(), " ", buffer.storage, "\n");
  }
  const auto add_steps = [&](const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      text += "step";
      for (const int32_t input : step.inputs)
        text += base::cat(" ", input);
      text += " =";
      for (const int32_t output : step.outputs)
        text += base::cat(" ", output);
      text += "\n";
    }
  };
  add_steps(plan.weight_steps);
  add_steps(plan.shape_steps);
  add_steps(plan.compute_steps);
  return base::digest(text);
}

std::string machine_facts() {
  std::string facts;
#if defined(__x86_64__)
  facts = "x86_64";
  add_x86_facts(facts);
#else
  facts = "unknown";
#endif
  return facts;
}

}  // namespace regraft::plan
