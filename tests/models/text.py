"""Text models of transformers, from configurations: no weights are fetched.

Each class keeps the library's parameter names (it inherits, it does not wrap), takes tensors and
returns tensors. `attention` is "sdpa" or "eager".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)


class Bert(BertModel):
    """Returns the last hidden state [batch, sequence, width] and the pooled output."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        result = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        return result.last_hidden_state, result.pooler_output


class Gpt2(GPT2LMHeadModel):
    """Returns logits [batch, sequence, vocabulary]; the head is tied to the token embedding."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids=input_ids, use_cache=False).logits


class MaskedGpt2(GPT2LMHeadModel):
    """GPT-2 over padded sequences."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        result = super().forward(input_ids, attention_mask=attention_mask, use_cache=False)
        return result.logits


class Llama(LlamaForCausalLM):
    """Returns logits [batch, sequence, vocabulary]."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids=input_ids, use_cache=False).logits


class MaskedLlama(LlamaForCausalLM):
    """Llama over padded sequences."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        result = super().forward(input_ids, attention_mask=attention_mask, use_cache=False)
        return result.logits


def bert_config() -> BertConfig:
    return BertConfig()


def tiny_bert_config() -> BertConfig:
    return BertConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )


def gpt2_config() -> GPT2Config:
    return GPT2Config()


def tiny_gpt2_config() -> GPT2Config:
    return GPT2Config(
        vocab_size=101,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )


def llama_config() -> LlamaConfig:
    """153 million parameters: 12 layers of 12 query and 4 key/value heads."""
    return LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=2048,
    )


def tiny_llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=101,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )


def _make(
    model: Callable[[Any], nn.Module], config: Callable[[], Any], attention: str
) -> nn.Module:
    settings = config()
    settings._attn_implementation = attention
    return model(settings)


def _variants(name: str, model: Any, config: Any) -> dict[str, Callable[[], nn.Module]]:
    return {
        name: partial(_make, model, config, "sdpa"),
        f"{name}_eager": partial(_make, model, config, "eager"),
    }


FULL = {
    **_variants("bert_base", Bert, bert_config),
    **_variants("gpt2", Gpt2, gpt2_config),
    **_variants("llama_150m", Llama, llama_config),
}
TINY = {
    **_variants("tiny_bert", Bert, tiny_bert_config),
    **_variants("tiny_gpt2", Gpt2, tiny_gpt2_config),
    **_variants("tiny_gpt2_masked", MaskedGpt2, tiny_gpt2_config),
    **_variants("tiny_llama", Llama, tiny_llama_config),
    **_variants("tiny_llama_masked", MaskedLlama, tiny_llama_config),
}
