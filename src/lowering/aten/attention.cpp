#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

void attention(Call& call, const char* mask) {
  if (call.number("dropout_p") != 0) call.unsupported("dropout in training mode");
  Attributes attributes{{"is_causal", call.flag("is_causal")}};
  if (!call.is_none("scale")) attributes.set("scale", call.number("scale"));
  attributes.set("enable_gqa", call.flag("enable_gqa"));
  ir::Value* bias = mask == nullptr ? nullptr : call.optional_tensor(mask);
  call.result(call.emit("scaled_dot_product_attention",
                        {call.tensor("query"), call.tensor("key"), call.tensor("value"), bias},
                        attributes));
}

void with_mask(Call& call) { attention(call, "attn_mask"); }
void with_bias(Call& call) { attention(call, "attn_bias"); }
void without_mask(Call& call) { attention(call, nullptr); }

constexpr AtenOp kOps[] = {
    {"scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, "
     "is_causal=False, scale=None, enable_gqa=False)",
     with_mask},
    {"_scaled_dot_product_attention_math(query, key, value, attn_mask=None, dropout_p=0.0, "
     "is_causal=False, dropout_mask=None, scale=None, enable_gqa=False)",
     with_mask},
    {"_scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout_p=0.0, "
     "is_causal=False, attn_mask=None, scale=None, enable_gqa=False)",
     with_mask},
    {"_scaled_dot_product_fused_attention_overrideable(query, key, value, attn_bias=None, "
     "dropout_p=0.0, is_causal=False, return_debug_mask=False, scale=None, enable_gqa=False)",
     with_bias},
    {"_scaled_dot_product_efficient_attention(query, key, value, attn_bias, compute_log_sumexp, "
     "dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False)",
     with_bias},
    {"_scaled_dot_product_cudnn_attention(query, key, value, attn_bias, compute_log_sumexp, "
     "dropout_p=0.0, is_causal=False, return_debug_mask=False, scale=None, enable_gqa=False)",
     with_bias},
    {"_scaled_dot_product_flash_attention(query, key, value, dropout_p=0.0, is_causal=False, "
     "return_debug_mask=False, scale=None, enable_gqa=False)",
     without_mask},
};

}  // namespace

extern const AtenTable k_attention;
const AtenTable k_attention = kOps;

}  // namespace regraft::lowering::aten
