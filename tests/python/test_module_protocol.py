"""`regraft.Module` as an `nn.Module` among others: state dicts of parents, copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import partial
import pytest
import torch
from partial import X

import regraft


class _Parent(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(x)["out"])


def _prefixed(seed: int) -> dict[str, torch.Tensor]:
    return _Parent(partial.layers(seed)).state_dict()


@pytest.mark.parametrize("whole", [False, True])
def test_a_module_is_a_module_without_parameters(whole: bool) -> None:
    module = partial.whole_module(partial.small(0), X[:, :4]) if whole else partial.module(0)
    assert list(module.parameters()) == []
    assert module.requires_grad_(False) is module
    module.zero_grad()
    names = {n for p in module.parameter_infos() for n in (p.spec.name, *p.aliases)}
    assert module.state_dict().keys() == names
    into = {"first": X}
    assert module.state_dict(destination=into, prefix="a.", keep_vars=True) is into
    assert into.keys() == {"first", *(f"a.{name}" for name in names)}
    assert all(torch.equal(v, module.parameter(n)) for n, v in module.state_dict().items())


def test_a_parent_saves_and_loads_a_module() -> None:
    parent = _Parent(partial.module(0)).eval()
    state = parent.state_dict()
    assert {"net.tied.weight", "net.first.weight", "head.weight"} < state.keys()
    assert parent.load_state_dict(_prefixed(1)) == ([], [])
    assert parent.net.generation == 2
    model = partial.layers(1)
    model.hidden = parent.net.parameter("hidden")
    partial.close(parent.net(X), model(X))
    assert parent.load_state_dict(state, assign=True) == ([], [])
    partial.close(parent.net(X), partial.layers(0)(X))
    parent.net.load_state_dict(parent.net.state_dict(), assign=True)
    partial.close(parent.net(X), partial.layers(0)(X))
    assert parent.load_state_dict(parent.head.state_dict(prefix="head."), strict=False)
    assert parent.net.generation == 4, "nothing of the module, no refit"


def test_a_parent_loads_a_module_as_strictly_as_any() -> None:
    parent = _Parent(partial.module(0)).eval()
    state = _prefixed(1)
    del state["net.shift"], state["net.tied.weight"]  # The tie has another name.
    state["net.more"] = torch.ones(2)
    with pytest.raises(RuntimeError, match=r'(?s)Missing.*: "net\.shift"\. .*Unexp.*: "net\.more"'):
        parent.load_state_dict(state)
    assert parent.load_state_dict(state, strict=False) == (["net.shift"], ["net.more"])
    assert torch.equal(parent.net.parameter("last.bias"), state["net.last.bias"])
    assert torch.equal(parent.net.parameter("shift"), partial.layers(0).shift)
    before, generation = parent.net(X), parent.net.generation
    state = _prefixed(0)
    state["net.last.bias"] = torch.ones(4)
    state["net.scale"] = state["net.scale"].double()
    with pytest.raises(RuntimeError) as error:
        parent.load_state_dict(state, strict=False)
    assert "net: [refit] 2 problems" in str(error.value)
    assert "last.bias: want f32[3], have f32[4]" in str(error.value)
    assert "scale: want f32[6], have f64[6]" in str(error.value)
    assert parent.net.generation == generation
    assert partial.same(parent.net(X), before)


def test_a_parent_gives_a_stripped_module_its_weights() -> None:
    parent = _Parent(partial.module(0, strip_engine_weights=True)).eval()
    with pytest.raises(regraft.StateError, match="no weights yet"):
        parent.state_dict()
    state = _prefixed(1)
    bias = state.pop("net.last.bias")
    with pytest.raises(RuntimeError, match="no weights yet"):
        parent.load_state_dict(state, strict=False)
    assert parent.net.generation == 0
    parent.load_state_dict({**state, "net.last.bias": bias})
    assert torch.equal(parent.net.parameter("last.bias"), bias)


@pytest.mark.parametrize("whole", [False, True])
def test_copies_are_forks(whole: bool) -> None:
    model, other = (partial.small(0), partial.small(1)) if whole else map(partial.layers, (0, 1))
    x = X[:, :4] if whole else X
    compiled = regraft.compile(model, (x,))
    assert isinstance(compiled, regraft.Engine) == whole
    for copied in (copy.copy(compiled), copy.deepcopy(compiled)):
        copied.refit(other)
        partial.close(copied(x), other(x))
        partial.close(compiled(x), model(x))
    with pytest.raises(TypeError, match=r"cannot be pickled; use .*save"):
        pickle.dumps(compiled)
