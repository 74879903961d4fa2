#include "backends/cpu/run/epilogue.h"

#include <charconv>

namespace regraft::cpu {
namespace {

using dnnl::algorithm;

// Numbers of an item are the parameters that stand in the table as kFirst and kSecond.
constexpr float kFirst = -1e30F, kSecond = -2e30F;

struct ItemDef {
  std::string_view name;
  algorithm kind;
  size_t numbers = 0;
  float alpha = 0, beta = 0;
  bool binary = false;
};

constexpr ItemDef kItems[] = {
    {"relu", algorithm::eltwise_relu},
    {"leaky_relu", algorithm::eltwise_relu, 1, kFirst},
    {"clip", algorithm::eltwise_clip_v2, 2, kFirst, kSecond},
    {"gelu", algorithm::eltwise_gelu_erf},
    {"gelu_tanh", algorithm::eltwise_gelu_tanh},
    {"silu", algorithm::eltwise_swish, 0, 1},
    {"sigmoid", algorithm::eltwise_logistic},
    {"hardswish", algorithm::eltwise_hardswish, 0, 1.0F / 6, 0.5F},
    {"hardsigmoid", algorithm::eltwise_hardsigmoid, 0, 1.0F / 6, 0.5F},
    {"tanh", algorithm::eltwise_tanh},
    {"elu", algorithm::eltwise_elu, 1, kFirst},
    {"mish", algorithm::eltwise_mish},
    {"abs", algorithm::eltwise_abs},
    {"square", algorithm::eltwise_square},
    {"linear", algorithm::eltwise_linear, 2, kFirst, kSecond},
    {"add", algorithm::binary_add, 0, 0, 0, true},
    {"sub", algorithm::binary_sub, 0, 0, 0, true},
    {"mul", algorithm::binary_mul, 0, 0, 0, true},
    {"min", algorithm::binary_min, 0, 0, 0, true},
    {"max", algorithm::binary_max, 0, 0, 0, true},
};

const ItemDef* find(std::string_view name) {
  for (const ItemDef& item : kItems) {
    if (item.name == name) return &item;
  }
  return nullptr;
}

[[noreturn]] void fail_item(std::string_view item) {
  base::fail("backends", ErrorCode::Unsupported, "cpu: no epilogue '", item, "'");
}

EpilogueItem parse_item(std::string_view text) {
  EpilogueItem item;
  std::string_view rest = text;
  const auto part = [&] {
    const std::string_view head = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), head.size() + 1));
    return head;
  };
  item.name = part();
  while (!rest.empty()) {
    const std::string_view number = part();
    float value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || end != number.data() + number.size()) fail_item(text);
    item.numbers.push_back(value);
  }
  if (!is_epilogue_item(item.name, item.numbers.size())) fail_item(text);
  return item;
}

}  // namespace

bool EpilogueItem::is_binary() const { return find(name)->binary; }

dnnl::algorithm algorithm_of(const EpilogueItem& item) { return find(item.name)->kind; }

bool is_epilogue_item(std::string_view name, size_t numbers) {
  const ItemDef* const item = find(name);
  return item != nullptr && item->numbers == numbers;
}

Epilogue parse_epilogue(std::string_view text) {
  Epilogue epilogue;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    epilogue.push_back(parse_item(item));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
  return epilogue;
}

Epilogue epilogue_of(const KernelRequest& request) {
  if (request.attributes.is_none("epilogue")) return {};
  return parse_epilogue(request.attributes.text("epilogue"));
}

void append_post_ops(const Epilogue& epilogue, std::span<const dnnl::memory::desc> operands,
                     dnnl::post_ops& post_ops, std::vector<OnednnCall::Argument>& arguments) {
  size_t operand = 0;
  for (const EpilogueItem& item : epilogue) {
    const ItemDef& def = *find(item.name);
    if (def.binary) {
      if (operand == operands.size()) fail_item(item.name + " without an operand");
      const int index = post_ops.len();
      post_ops.append_binary(def.kind, operands[operand]);
      arguments.emplace_back(DNNL_ARG_ATTR_MULTIPLE_POST_OP(index) | DNNL_ARG_SRC_1,
                             operands[operand]);
      ++operand;
      continue;
    }
    const auto number = [&](float value) {
      return value == kFirst ? item.numbers[0] : value == kSecond ? item.numbers[1] : value;
    };
    post_ops.append_eltwise(def.kind, number(def.alpha), number(def.beta));
  }
  if (operand != operands.size()) fail_item("with operands that no item takes");
}

}  // namespace regraft::cpu
