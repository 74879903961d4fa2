"""Models with adapters of PEFT, and how engines are compared with them."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn

import regraft
from models import zoo
from support import F32_TOLERANCE, relative_error, same_bits

LAYER = "model.layers.0.self_attn.q_proj"


def fill(model: nn.Module, seed: int = 1) -> nn.Module:
    """PEFT starts B at zero: an adapter that does nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            elif "modules_to_save" in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def made_up(
    parts: dict[str, dict[str, Tensor]], rank: int, ends: tuple[str, ...], seed: int = 0
) -> dict[str, Tensor]:
    """An adapter as diffusers saves it: of the layers whose names end like this in the state dicts
    of ``parts``, whose names stand before theirs."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for prefix, weights in parts.items():
        for name, weight in weights.items():
            path = name.removesuffix(".weight")
            if not name.endswith(".weight") or not path.endswith(ends):
                continue
            down = (rank, *weight.shape[1:])
            up = (weight.shape[0], rank, *[1] * (weight.ndim - 2))
            layer = f"{prefix}.{path}" if prefix else path
            state[f"{layer}.lora_A.weight"] = 0.2 * torch.randn(down, generator=generator)
            state[f"{layer}.lora_B.weight"] = 0.2 * torch.randn(up, generator=generator)
    return state


def llama() -> nn.Module:
    return copy.deepcopy(zoo.build("tiny_llama", 0))


def two_adapters() -> PeftModel:
    """Of different rank and targets; one with rsLoRA."""
    model = get_peft_model(llama(), LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"]), "a")
    config = LoraConfig(
        r=7,
        lora_alpha=5,
        use_rslora=True,
        target_modules=["q_proj", "down_proj"],
        alpha_pattern={"layers.1.mlp.down_proj": 9},
    )
    model.add_adapter("b", config)
    fill(model)
    return model


def activate(model: PeftModel, scales: dict[str, float]) -> None:
    model.base_model.set_adapter(list(scales))
    for layer in model.modules():
        if hasattr(layer, "lora_A"):
            for name, scale in scales.items():
                if name in layer.lora_A:
                    layer.set_scale(name, scale)


def inputs(name: str = "tiny_llama") -> tuple[Tensor, ...]:
    return zoo.example_inputs(name)


def answer(model: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    return zoo.run(model, args)[0]


def agree(compiled: Any, model: nn.Module, args: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        outputs = compiled(*args)
    have = outputs if isinstance(outputs, Tensor) else outputs[0]
    assert relative_error(have, answer(model, args)) <= F32_TOLERANCE


def values(compiled: Any) -> dict[str, Tensor]:
    return compiled.state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)


def state_of(model: PeftModel, name: str) -> dict[str, Tensor]:
    return get_peft_model_state_dict(model, adapter_name=name)


def config_of(model: PeftModel, name: str) -> dict[str, Any]:
    return model.peft_config[name].to_dict()


@functools.lru_cache(maxsize=1)
def _llama_bytes() -> bytes:
    return whole(llama(), inputs()).serialize()


def llama_engine() -> regraft.Engine:
    return regraft.Engine.deserialize(_llama_bytes())


def whole(model: nn.Module, args: tuple[Tensor, ...]) -> regraft.Engine:
    return regraft.compile(model, args, backend="cpu", require_full_compilation=True)
