"""Refits from the same tensors again and again."""

from __future__ import annotations

import pytest
import torch
from small_net import SmallNet
from torch import nn

import regraft
import support


def _inputs(device: str) -> torch.Tensor:
    return torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(7)).to(device)


def _pair(device: str) -> tuple[nn.Module, regraft.Engine]:
    model = SmallNet(0).eval().to(device)
    return model, regraft.compile(model, (_inputs(device),), backend=device)


@pytest.mark.parametrize("in_place", [False, True])
def test_calls_follow_the_values(device: str, in_place: bool) -> None:
    model, engine = _pair(device)
    refit, x = engine.refitter(model, in_place=in_place), _inputs(device)
    for seed in range(1, 5):
        other = SmallNet(seed).eval().to(device)
        model.load_state_dict(other.state_dict())
        report = refit()
        assert report.generation == engine.generation
        fresh = regraft.compile(other, (x,), backend=device)
        assert support.same_bits(engine(x), fresh(x))
        with torch.no_grad():
            assert support.relative_error(engine(x).cpu(), model(x).cpu()) <= 1e-5


def test_a_single_element_counts(device: str) -> None:
    model, engine = _pair(device)
    x = _inputs(device)
    refit = engine.refitter({"norm.running_var": model.norm.running_var}, partial=True)
    before = engine(x).clone()
    with torch.no_grad():
        seen = model.norm(model.conv(x)).relu().mean((0, 2, 3)).argmax()
        model.norm.running_var[seen] *= 1.5
    refit()
    assert not support.same_bits(engine(x), before)
    fresh = regraft.compile(model, (x,), backend=device)
    assert support.same_bits(engine(x), fresh(x))


def test_tensors_that_moved_are_refused(device: str) -> None:
    model, engine = _pair(device)
    refit, x = engine.refitter(model), _inputs(device)
    before = engine(x).clone()
    model.first.bias.data = torch.zeros_like(model.first.bias)
    with pytest.raises(regraft.StateError, match="other memory"):
        refit()
    assert support.same_bits(engine(x), before)


def test_freed_memory_is_not_read() -> None:
    model, engine = _pair("cpu")
    refit = engine.refitter(model)
    model.conv.weight.untyped_storage().resize_(0)
    with pytest.raises(regraft.StateError, match="other memory"):
        refit()


def test_active_adapters_are_refused() -> None:
    model, engine = _pair("cpu")
    refit = engine.refitter(model)
    engine.lora.load(
        "a", {"middle.lora_A.weight": torch.ones(2, 16), "middle.lora_B.weight": torch.ones(16, 2)}
    )
    with pytest.raises(regraft.StateError, match="adapters"):
        refit()
    engine.lora.unload("a")
    refit()


def test_what_cannot_be_followed_is_refused() -> None:
    model, engine = _pair("cpu")
    state = dict(model.state_dict())
    with pytest.raises(regraft.InvalidArgumentError, match="file"):
        engine.refitter("weights.safetensors")  # type: ignore[arg-type]
    conjugated = {**state, "norm.bias": torch.view_as_complex(torch.rand(8, 2)).conj().imag}
    with pytest.raises(regraft.InvalidArgumentError, match=r"norm\.bias"):
        engine.refitter(conjugated)
    apart = {**state, "last.weight": state["last.weight"].clone()}
    with pytest.raises(regraft.InvalidArgumentError, match=r"other memory"):
        engine.refitter(apart)
    del state["conv.bias"]
    with pytest.raises(regraft.MismatchError, match=r"conv\.bias"):
        engine.refitter(state)
