"""Adapters of a form that was loaded before: their names are not looked at again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regraft
from regraft import lora
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


def _engine(device: str = "cpu") -> regraft.Engine:
    return regraft.compile(_net().to(device), (torch.rand(2, 6, device=device),), backend=device)


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


def _is_like(engine: regraft.Engine, fresh: regraft.Engine, device: str = "cpu") -> bool:
    """Values and answers."""
    want, x = fresh.state_dict(), torch.ones(2, 6, device=device)
    return same_bits(engine(x), fresh(x)) and all(
        same_bits(value, want[name]) for name, value in engine.state_dict().items()
    )


class Walked:
    """An engine, and the adapters that it ought to have: seed and scale by name."""

    def __init__(
        self, engine: regraft.Engine, has: dict[str, tuple[int, float]], device: str
    ) -> None:
        self.engine = engine
        self.device = device
        self.has = dict(has)
        self.had: dict[str, tuple[int, float]] | None = None

    def change(self, has: dict[str, tuple[int, float]]) -> None:
        self.had, self.has = self.has, has

    def fork(self) -> Walked:
        return Walked(self.engine.fork(), self.has, self.device)

    def is_right(self) -> bool:
        fresh = _engine(self.device)
        for name, (seed, scale) in self.has.items():
            fresh.lora.load(name, _adapter(seed), scale)
        return _is_like(self.engine, fresh, self.device)


def _delta_of(state: dict[str, Tensor]) -> lora.Adapter:
    return lora.Adapter(
        {
            f"{name}.weight": lora.Delta(
                state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]
            )
            for name in NAMES
        }
    )


def _step(walked: Walked, generator: torch.Generator, seed: int) -> None:
    """One change of some kind."""

    def pick(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    adapters, has = walked.engine.lora, dict(walked.has)
    name, scale = "ab"[pick(2)], (0.5, 1.0, 2.0)[pick(3)]
    kind = pick(6)
    if kind <= 2 or name not in has:
        where = walked.device if pick(2) else "cpu"
        adapters.load(name, {k: v.to(where) for k, v in _adapter(seed).items()}, scale)
        walked.change(has | {name: (seed, scale)})
    elif kind == 3:
        scales = {n: scale if n == name else s for n, (_, s) in has.items()}
        adapters.set(scales)
        if scale != has[name][1]:
            walked.change(has | {name: (has[name][0], scale)})
    elif kind == 4:
        adapters.unload(name)
        walked.change({n: what for n, what in has.items() if n != name})
    elif walked.had is not None:
        walked.engine.rollback()
        walked.has, walked.had = walked.had, walked.has


@pytest.mark.parametrize("walk", range(6))
def test_memory_of_adapters_is_not_taken_from_those_that_have_it(walk: int, device: str) -> None:
    generator = torch.Generator().manual_seed(walk)
    first = Walked(_engine(device), {}, device)
    every = [first]
    for seed in range(24):
        if seed in (5, 11):
            every.append(first.fork())
        _step(every[int(torch.randint(len(every), (), generator=generator))], generator, seed)
        assert all(walked.is_right() for walked in every), seed


def test_what_replacing_keeps_is_kept_from_later_adapters() -> None:
    engine = _engine()
    engine.lora.load("a", _adapter(1))
    other = {k: v for k, v in _adapter(2).items() if k.startswith("first")}
    mixed = {**_adapter(1), **other}
    report = engine.lora.replace({"a": _delta_of(mixed)})
    assert report.parameters == ["first.weight"]
    for seed in (3, 4, 5):
        engine.lora.load("b", _adapter(seed))
    engine.lora.set({"a": 0.5})
    fresh = _engine()
    fresh.lora.replace({"a": _delta_of(mixed)}, {"a": 0.5})
    assert _is_like(engine, fresh)


def test_adapters_of_a_form_take_turns_in_their_memory() -> None:
    engine = _engine()
    for seed in range(8):
        engine.lora.load("a", _adapter(seed))
    (form,) = engine.lora_slot.forms
    # The one in use, the one before, and one for the next.
    assert len(form.places) == 3
    engine.trim()
    assert len(form.places) == 2
    fork = engine.fork()
    for seed in range(8):
        engine.lora.load("a", _adapter(seed))
    assert len(form.places) == 4
    del fork
    for seed in range(8):
        engine.lora.load("a", _adapter(seed))
    assert len(form.places) == 3


def test_memory_stays_where_scales_change_between_adapters() -> None:
    engine = _engine()
    seen: set[int] = set()
    for seed in range(24):
        engine.lora.load("a", _adapter(seed))
        if seed % 3 == 2:
            engine.lora.set({"a": 0.5})
        places = {id(place) for form in engine.lora_slot.forms for place in form.places}
        assert seed < 3 or places == seen, seed
        seen = places
    assert len(seen) == 3
