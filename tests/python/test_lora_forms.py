"""Adapters of a form that was loaded before: their names are not looked at again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regraft
from regraft.lora import forms
from support import same_bits

NAMES = ("middle", "first")


def _net() -> nn.Module:
    torch.manual_seed(0)
    layers = {"first": nn.Linear(6, 5), "turn": nn.Tanh(), "middle": nn.Linear(5, 4)}
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    return net.eval().requires_grad_(False)


def _adapter(seed: int, rank: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = _net().state_dict()
    state: dict[str, Tensor] = {}
    for name in NAMES:
        rows, columns = weights[f"{name}.weight"].shape
        state[f"{name}.lora_A.weight"] = torch.rand(rank, columns, generator=generator).to(dtype)
        state[f"{name}.lora_B.weight"] = torch.rand(rows, rank, generator=generator).to(dtype)
    return state


def _engine() -> regraft.Engine:
    return regraft.compile(_net(), (torch.rand(2, 6),))


def _values(state: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    engine = _engine()
    engine.lora.load("fresh", state, **options)
    return engine.state_dict()


class Reads:
    """Counts the adapters whose names are resolved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._read = forms.read_adapter
        monkeypatch.setattr(forms, "read_adapter", self)

    def __call__(self, *args: Any) -> Any:
        self.count += 1
        return self._read(*args)


def test_a_known_form_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, reads = _engine(), Reads(monkeypatch)
    for seed, name in enumerate(("a", "a", "b", "a")):
        engine.lora.load(name, _adapter(seed))
        if name == "b":
            engine.lora.unload("b")
    assert reads.count == 1
    want = _values(_adapter(3))
    assert all(same_bits(value, want[name]) for name, value in engine.state_dict().items())


@pytest.mark.parametrize(
    ("state", "options"),
    [
        (_adapter(2, rank=4), {}),
        (_adapter(2, dtype=torch.bfloat16), {}),
        (_adapter(2), {"alpha": 5.0}),
        (_adapter(2), {"use_rslora": True, "alpha": 2.0}),
        ({**_adapter(2), "middle.alpha": 7.0}, {}),
        ({**_adapter(2), "middle.alpha": torch.tensor(3.0)}, {}),
        ({f"x.{k}": v for k, v in _adapter(2).items()}, {"prefix": "x."}),
        (dict(reversed(_adapter(2).items())), {}),
    ],
)
def test_another_form_is_resolved(
    state: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine()
    engine.lora.load("a", _adapter(1))
    reads = Reads(monkeypatch)
    for _ in range(2):
        engine.lora.load("a", state, **options)
        assert reads.count == 1
    want = _values(state, **options)
    assert all(same_bits(value, want[name]) for name, value in engine.state_dict().items())


def test_one_tensor_under_two_names_is_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, reads = _engine(), Reads(monkeypatch)
    one = _adapter(1)
    shared = {**one, "other.lora_A.weight": one["middle.lora_A.weight"]}
    for _ in range(2):
        with pytest.raises(regraft.MismatchError, match="other"):
            engine.lora.load("a", shared)
    assert reads.count == 2
    assert engine.lora.loaded == []


def test_alphas_are_not_mixed_up() -> None:
    engine = _engine()
    for alpha in (1.0, 4.0, 1.0, 2.0):
        state = {**_adapter(1), "first.alpha": alpha}
        engine.lora.load("a", state)
        want = _values(state)
        assert all(same_bits(value, want[name]) for name, value in engine.state_dict().items())


def test_names_of_several_adapters_in_one_file() -> None:
    both = {
        **{k.replace(".weight", ".a.weight"): v for k, v in _adapter(1).items()},
        **{k.replace(".weight", ".b.weight"): v for k, v in _adapter(2).items()},
    }
    for name, seed in (("a", 1), ("b", 2), ("a", 1)):
        engine = _engine()
        engine.lora.load("b" if name == "a" else "a", both, alpha=3.0)
        engine.lora.set({})
        engine.lora.load(name, both, alpha=3.0)
        engine.lora.set({name: 1.0})
        want = _values(_adapter(seed), alpha=3.0)
        assert all(same_bits(value, want[key]) for key, value in engine.state_dict().items())
