"""Adapters that diffusers loads into a UNet: the classes and code paths of Stable Diffusion."""

from __future__ import annotations

import functools
from typing import Any

import torch
from adapters import made_up
from diffusers import UNet2DConditionModel
from torch import Tensor

import regraft
from models.weights import randomise
from regraft import lora
from support import F32_TOLERANCE, relative_error, same_bits


@functools.lru_cache(maxsize=1)
def unet_state() -> dict[str, Tensor]:
    model = _unet()
    randomise(model, 2)
    return model.state_dict()


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def unet() -> UNet2DConditionModel:
    model = _unet()
    model.load_state_dict(unet_state())
    return model.eval().requires_grad_(False)


def inputs() -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return torch.randn(2, 4, 8, 8), torch.tensor(7), torch.randn(2, 5, 12)


def adapter(seed: int, rank: int, *ends: str) -> dict[str, Tensor]:
    return made_up({"": unet_state()}, rank, ends, seed)


STYLE = adapter(1, 4, "to_q", "to_v", "to_out.0")
DETAIL = adapter(2, 3, "to_k", "conv1", "proj_in", "to_q")


def agree(compiled: Any, model: UNet2DConditionModel) -> None:
    with torch.no_grad():
        want = model(*inputs()).sample
        have = compiled(*inputs())
    assert relative_error(have.sample, want) <= F32_TOLERANCE


def test_adapters_of_a_unet() -> None:
    model = unet()
    compiled = regraft.compile(model, inputs())
    base = compiled.state_dict()
    agree(compiled, model)

    compiled.lora.load("style", {f"unet.{name}": value for name, value in STYLE.items()})
    model.load_lora_adapter(dict(STYLE), prefix=None, adapter_name="style")
    agree(compiled, model)
    compiled.lora.load("detail", DETAIL, 0.5)
    model.load_lora_adapter(dict(DETAIL), prefix=None, adapter_name="detail")
    model.set_adapters(["style", "detail"], [1.0, 0.5])
    agree(compiled, model)

    # The module itself, with its layers wrapped, is the same base and the same changes.
    view = lora.base_view(model)
    assert set(view.adapters) == {"style", "detail"}
    report = compiled.lora.replace(view.adapters)  # "style" is the same to the bit.
    assert set(report.parameters) == {n.replace(".lora_A", "") for n in DETAIL if "lora_A" in n}
    agree(compiled, model)
    model.set_adapters(["style", "detail"], [0.25, -1.0])
    compiled.lora.replace(lora.base_view(model).adapters)
    agree(compiled, model)
    model.unload_lora()
    compiled.lora.replace(lora.base_view(model).adapters)
    have = compiled.state_dict()
    assert all(same_bits(have[name], base[name]) for name in base)
    agree(compiled, model)


def test_a_unet_with_adapters_is_compiled_as_its_base() -> None:
    model = unet()
    model.load_lora_adapter(dict(DETAIL), prefix=None, adapter_name="detail")
    compiled = regraft.compile(model, inputs())
    assert compiled.lora.active == {"detail": 1.0}
    agree(compiled, model)
    assert compiled.outline == regraft.compile(unet(), inputs()).outline
    assert lora.has_adapters(model)
    model.fuse_lora()
    view = lora.base_view(model)
    assert view.adapters == {}
    compiled.lora.replace({})
    compiled.refit(view.tensors(), partial=True)
    agree(compiled, model)
