"""Mutable modules under PEFT: adapters loaded, scaled, merged and unloaded on the user's handle."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from regraft import MutableModule
from regraft.mutable import follower as follower_module


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.v = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.v(torch.relu(self.q(x)))


class _Adapted:
    """A module, the mutable one around it, and what people do with adapters."""

    def __init__(self) -> None:
        self.net = Attention().eval().requires_grad_(False)
        self.mutable = MutableModule(self.net)

    def check(self) -> Tensor:
        x = torch.ones(3, 8)
        with torch.no_grad():
            have, want = self.mutable(x), self.net(x)
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)
        return have

    def layers(self) -> Iterator[LoraLayer]:
        return (m for m in list(self.net.modules()) if isinstance(m, LoraLayer))

    def load(self, rank: int = 2) -> None:
        config = LoraConfig(r=rank, target_modules=["q", "v"], init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, self.net, "a")
        self.net.eval()

    def unload(self) -> None:
        self.net.q, self.net.v = self.net.q.base_layer, self.net.v.base_layer
        self.net.requires_grad_(False)


@pytest.fixture
def adapted() -> _Adapted:
    return _Adapted()


def test_every_step_is_followed(adapted: _Adapted) -> None:
    outputs = [adapted.check()]
    adapted.load()
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.set_scale("a", 0.3)
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.lora_B["a"].weight.data = torch.randn(8, 2)
    outputs.append(adapted.check())
    for layer in adapted.layers():
        layer.merge()
    merged = adapted.check()
    torch.testing.assert_close(merged, outputs[-1], rtol=1e-4, atol=1e-4)
    for layer in adapted.layers():
        layer.unmerge()
        layer.set_scale("a", 0.9)
        layer.merge()
    outputs.append(adapted.check())
    adapted.unload()
    outputs.append(adapted.check())
    for a, b in itertools.pairwise(outputs[:-1]):
        assert not torch.allclose(a, b)


def test_load_fuse_unload_between_two_calls(
    adapted: _Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = adapted.check()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the program is that of before: nothing is to be compiled")

    monkeypatch.setattr(follower_module, "compile", refuse)
    for _ in range(2):
        adapted.load()
        for layer in adapted.layers():
            layer.merge()
        adapted.unload()
        after = adapted.check()
        assert not torch.allclose(before, after)
        before = after


def test_adapters_come_and_go_without_compiling(
    adapted: _Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = adapted.check()
    weight = adapted.net.v.weight.detach().clone()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("adapters are changes of weights: nothing is to be compiled")

    monkeypatch.setattr(follower_module, "compile", refuse)
    for rank in (2, 5):
        adapted.load(rank)
        loaded = adapted.check()
        assert not torch.allclose(loaded, base)
        with torch.no_grad():
            next(adapted.layers()).lora_B["a"].weight[0, 0] += 1.0
        assert not torch.equal(adapted.check(), loaded)
        assert len(adapted.mutable.last_refit.parameters) == 1
        before = adapted.check()
        with torch.no_grad():
            adapted.net.v.base_layer.weight += 1.0
        assert not torch.equal(adapted.check(), before)
        with torch.no_grad():
            adapted.net.v.base_layer.weight.copy_(weight)
        for layer in adapted.layers():
            layer.set_scale("a", 0.3)
        adapted.check()
        adapted.unload()
        assert torch.equal(adapted.check(), base)


def test_dora_stays_layers(adapted: _Adapted) -> None:
    base = adapted.check()
    config = LoraConfig(r=2, target_modules=["q", "v"], init_lora_weights=False, use_dora=True)
    inject_adapter_in_model(config, adapted.net, "a")
    adapted.net.eval()
    assert not torch.allclose(adapted.check(), base)
