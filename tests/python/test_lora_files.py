"""Adapters in files, in the forms that libraries write, and their scales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import (
    LAYER,
    activate,
    agree,
    equal,
    inputs,
    llama,
    llama_engine,
    two_adapters,
    values,
)
from safetensors.torch import save_file
from torch import Tensor, nn

import regraft
from support import relative_error, same_bits


def test_files(tmp_path: Path) -> None:
    model, args = two_adapters(), inputs()
    engine = llama_engine()
    model.save_pretrained(tmp_path)
    for name in "ab":
        engine.lora.load(name, tmp_path / name)
        activate(model, {name: 1.0})
        engine.lora.set({name: 1.0})
        agree(engine, model, args)
    with pytest.raises(regraft.NotFoundError):
        engine.lora.load("c", tmp_path / "c")
    (tmp_path / "a/adapter_config.json").write_text("[1]")
    with pytest.raises(regraft.InvalidArgumentError, match="JSON object"):
        engine.lora.load("a", tmp_path / "a")
    (tmp_path / "a/adapter_config.json").write_text(json.dumps({"peft_type": "LOHA"}))
    with pytest.raises(regraft.UnsupportedError, match="LOHA"):
        engine.lora.load("a", tmp_path / "a")


def test_forms_of_diffusers_and_kohya(tmp_path: Path) -> None:
    engine = llama_engine()
    a, b = torch.randn(4, 32), torch.randn(32, 4)
    flat = "lora_unet_" + LAYER.replace(".", "_")
    forms = [
        {f"unet.{LAYER}.lora_A.weight": a, f"unet.{LAYER}.lora_B.weight": b},
        {f"unet.{LAYER}.lora.down.weight": a, f"unet.{LAYER}.lora.up.weight": b},
        {f"{LAYER}.lora_A.default.weight": a, f"{LAYER}.lora_B.default.weight": b},
        {
            f"{flat}.lora_down.weight": a,
            f"{flat}.lora_up.weight": b,
            f"{flat}.alpha": torch.tensor(4.0),
        },
    ]
    results = []
    for form in forms:
        save_file(form, tmp_path / "x.safetensors")
        engine.lora.load("x", tmp_path / "x.safetensors")
        results.append(engine.parameter(f"{LAYER}.weight"))
    want = llama().state_dict()[f"{LAYER}.weight"] + b @ a
    assert relative_error(results[0], want) < 1e-6
    assert all(same_bits(result, results[0]) for result in results)
    forms[-1][f"{flat}.alpha"] = torch.tensor(2.0)
    engine.lora.load("x", forms[-1], 2.0)
    assert relative_error(engine.parameter(f"{LAYER}.weight"), want) < 1e-6
    both = {**forms[0], "text_encoder.q.lora_A.weight": a, "text_encoder.q.lora_B.weight": b}
    engine.lora.load("x", both, prefix="unet.")
    assert same_bits(engine.parameter(f"{LAYER}.weight"), results[0])


def test_scales_in_the_header_of_a_file(tmp_path: Path) -> None:
    engine, model = llama_engine(), llama()
    a, b = torch.randn(4, 32), torch.randn(32, 4)
    base = model.state_dict()[f"{LAYER}.weight"]
    path, factors = tmp_path / "x.safetensors", {"lora_A.weight": a, "lora_B.weight": b}

    def load(part: str, fields: Any, **options: Any) -> float:
        """The scale that was taken."""
        text = fields if isinstance(fields, str) else json.dumps(fields)
        state = {f"{part}{LAYER}.{key}": value for key, value in factors.items()}
        save_file(state, path, metadata={"format": "pt", "lora_adapter_metadata": text})
        engine.lora.load("x", path, **options)
        change = engine.parameter(f"{LAYER}.weight") - base
        return round(float((change * (b @ a)).sum() / (b @ a).square().sum()), 4)

    own = {"r": 4, "lora_alpha": 6, "peft_type": "LORA", "use_rslora": False}
    assert load("", own) == 1.5
    assert load("", own | {"use_rslora": True}) == 3.0
    assert load("", own | {"alpha_pattern": {"self_attn.q_proj": 2}}) == 0.5
    assert load("", own, alpha=8) == 2.0
    assert load("", own, config={"lora_alpha": 2}) == 0.5
    parts = {f"unet.{key}": value for key, value in own.items()}
    parts |= {"text_encoder.lora_alpha": 12, "text_encoder.use_dora": False}
    assert load("unet.", parts) == 1.5
    assert load("unet.", parts, prefix="unet.") == 1.5
    assert load("text_encoder.", parts) == 3.0
    refused = parts | {"text_encoder.use_dora": True}
    assert load("unet.", refused, prefix="unet.") == 1.5
    before, generation = values(engine), engine.generation
    with pytest.raises(regraft.UnsupportedError, match="use_dora"):
        load("text_encoder.", refused)
    with pytest.raises(regraft.InvalidArgumentError, match="lora_adapter_metadata of its header"):
        load("", "{")
    with pytest.raises(regraft.InvalidArgumentError, match="want a JSON object"):
        load("", "[]")
    assert engine.generation == generation
    assert equal(values(engine), before)


def test_files_of_diffusers(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    engine = llama_engine()
    a, b = torch.randn(4, 32), torch.randn(32, 4)
    state = {f"{LAYER}.lora_A.weight": a, f"{LAYER}.lora_B.weight": b}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata={"r": 4, "lora_alpha": 2}
    )
    engine.lora.load("x", tmp_path, prefix="unet.")
    first = engine.parameter(f"{LAYER}.weight")
    engine.lora.load("x", state, 0.5)
    assert same_bits(engine.parameter(f"{LAYER}.weight"), first)
    # What `lora_state_dict` of a pipeline gives: alphas are numbers.
    engine.lora.load("x", {**state, f"{LAYER}.alpha": 2.0})
    assert same_bits(engine.parameter(f"{LAYER}.weight"), first)


def test_values_that_are_no_adapter() -> None:
    engine = llama_engine()
    wrong = {
        f"{LAYER}.lora_A.weight": torch.ones(2, 32),
        f"{LAYER}.lora_B.weight": 3,
        f"{LAYER}.alpha": torch.tensor([1.0, 2.0]),
        "lm_head.alpha": float("nan"),
        "model.embed_tokens.alpha": torch.tensor(1 + 1j),
        "model.norm.weight": [1.0],
    }
    with pytest.raises(regraft.InvalidArgumentError) as caught:
        engine.lora.load("x", wrong)
    text = str(caught.value)
    for part in (
        "lora_B.weight: want a tensor, have 3",
        "alpha: want one finite number, have [2] elements",
        "lm_head.alpha: want one finite number, have nan",
        "embed_tokens.alpha: want one finite number, have (1+1j)",
        "model.norm.weight: want a tensor, have list",
    ):
        assert part in text
    with pytest.raises(regraft.MismatchError, match="has an alpha without A and B"):
        engine.lora.load("x", {f"{LAYER}.alpha": 2.0})
    assert engine.lora.loaded == []


def test_what_diffusers_converts_from_kohya(tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q, self.to_out = nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 8)])

        def forward(self, x: Tensor) -> Tensor:
            return self.to_out[0](self.to_q(x))

    # The path of a layer of SDXL's UNet.
    tree: nn.Module = Attention()
    for name in reversed(
        ["down_blocks", "1", "attentions", "0", "transformer_blocks", "0", "attn1"]
    ):
        inner, tree = tree, nn.Module()
        tree.add_module(name, inner)
        tree.forward = inner.forward
    engine = regraft.compile(tree.eval(), (torch.ones(2, 8),))
    state: dict[str, Tensor] = {}
    for layer in ("to_q", "to_out_0"):
        flat = f"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_{layer}"
        state[f"{flat}.lora_down.weight"], state[f"{flat}.lora_up.weight"] = (
            torch.randn(2, 8),
            torch.randn(8, 2),
        )
        state[f"{flat}.alpha"] = torch.tensor(1.0)
    save_file(state, tmp_path / "x.safetensors")
    config = type("Config", (), {"layers_per_block": 2})
    tensors, alphas = StableDiffusionXLPipeline.lora_state_dict(
        tmp_path / "x.safetensors", unet_config=config
    )
    before = values(engine)
    engine.lora.load("x", {**tensors, **alphas})
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    for layer, key in (("to_q", f"{path}.to_q.weight"), ("to_out_0", f"{path}.to_out.0.weight")):
        flat = f"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_{layer}"
        change = 0.5 * state[f"{flat}.lora_up.weight"] @ state[f"{flat}.lora_down.weight"]
        assert relative_error(engine.parameter(key), before[key] + change) < 1e-6
