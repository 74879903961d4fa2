"""Refits that take the given tensors over where they lie."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

import regraft
import support


class Words(nn.Module):
    """A table that is read as it is, and a layer that is packed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = nn.Embedding(300, 48)
        self.norm = nn.LayerNorm(48)
        self.out = nn.Linear(48, 33)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.table(ids)))


def _words(device: str, seed: int) -> Words:
    return Words(seed).eval().requires_grad_(False).to(device)


def _ids(device: str) -> torch.Tensor:
    return torch.tensor([[0, 299, 7], [12, 3, 250]], device=device)


def _addresses(engine: regraft.Engine) -> set[int]:
    return {constant.address for constant in engine.constants()}


def test_constants_are_the_given_memory(device: str) -> None:
    ids, other = _ids(device), _words(device, 1)
    engine = regraft.compile(_words(device, 0), (ids,), backend=device)
    report = engine.refit(other, adopt=True)
    table = other.table.weight
    assert table.data_ptr() in _addresses(engine)
    assert engine.memory().mapped >= table.nbytes
    assert report.bytes_out < table.nbytes
    fresh = regraft.compile(other, (ids,), backend=device)
    assert support.same_bits(engine(ids), fresh(ids))
    # Values used together with those that are given later.
    engine.refit({"norm.bias": other.norm.bias * 2}, partial=True)
    assert table.data_ptr() in _addresses(engine)
    assert torch.equal(engine.parameter("out.weight").cpu(), other.out.weight.cpu())


def test_the_engine_keeps_what_it_adopted_alive(device: str) -> None:
    ids, other = _ids(device), _words(device, 1)
    engine = regraft.compile(_words(device, 0), (ids,), backend=device)
    engine.refit(other, adopt=True)
    want, alive = engine(ids).clone(), weakref.ref(other.table.weight)
    del other
    gc.collect()
    assert alive() is not None
    assert support.same_bits(engine(ids), want)
    engine.refit(_words(device, 2))
    engine.forget_previous()
    gc.collect()
    assert alive() is None
    fresh = regraft.compile(_words(device, 2), (ids,), backend=device)
    assert support.same_bits(engine(ids), fresh(ids))


def test_adopted_memory_is_not_written_in_place(device: str) -> None:
    ids, other = _ids(device), _words(device, 1)
    engine = regraft.compile(_words(device, 0), (ids,), backend=device)
    with pytest.raises(regraft.InvalidArgumentError, match="want one of them"):
        engine.refit(other, adopt=True, in_place=True)
    engine.refit(other, adopt=True)
    before, want = other.table.weight.clone(), engine(ids).clone()
    with pytest.raises(regraft.StateError, match=r"table\.weight.*adopted memory"):
        engine.refit(_words(device, 2), in_place=True)
    assert torch.equal(other.table.weight, before)
    assert support.same_bits(engine(ids), want)


def test_a_loaded_engine_adopts_when_it_is_asked(device: str) -> None:
    ids, other = _ids(device), _words(device, 1)
    saved = regraft.compile(_words(device, 0), (ids,), backend=device).serialize()
    engine = regraft.Engine.deserialize(saved)
    engine.refit(other, adopt=True)
    assert other.table.weight.data_ptr() in _addresses(engine)
    with pytest.raises(TypeError, match="adopt"):
        engine.refit(other, adopt="yes")  # type: ignore[arg-type]
