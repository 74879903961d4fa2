"""Which writes to weights are seen: one test per way that PyTorch has to change a tensor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import regraft
from regraft import _regraft
from regraft.tracking import WeightTracker, digests


def _model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def _slots(model: nn.Module) -> list[tuple[dict[str, torch.Tensor], str, str]]:
    return [
        (slots, key, f"{name}.{key}")
        for name, module in model.named_modules()
        for slots in (module._parameters, module._buffers)
        for key in slots
    ]


class _Tracked:
    """A module's weights and their tracker, re-read from their places as its users do."""

    def __init__(self, model: nn.Module, track: str = "version") -> None:
        self.slots = _slots(model)
        self.tracker = WeightTracker([s[2] for s in self.slots], self.tensors(), track)

    def tensors(self) -> list[torch.Tensor]:
        return [slots[key] for slots, key, _ in self.slots]

    def take(self) -> list[str]:
        changed = self.tracker.changed(self.tensors())
        self.tracker.accept()
        return changed


def _step(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()


TIED = ["0.weight", "2.weight"]
ALL_PARAMETERS = ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]


def _in_place(model: nn.Module) -> None:
    with torch.no_grad():
        model[0].weight.view(-1)[3] = 0.25
        model[0].weight.view(-1)[3] += 1e-7


def _inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        model[0].weight.mul_(2)


def _data(model: nn.Module) -> None:
    model[0].weight.data = torch.randn(4, 4)


def _transposed(model: nn.Module) -> None:
    model[0].weight.data = model[0].weight.data.t()


def _narrowed(model: nn.Module) -> None:
    model[0].bias.data = model[0].bias.data[:2]


def _replaced(model: nn.Module) -> None:
    model[0].bias = nn.Parameter(model[0].bias.detach().clone())


def _loaded(model: nn.Module) -> None:
    model[0].load_state_dict({"bias": torch.randn(4)}, strict=False)


def _assigned(model: nn.Module) -> None:
    model[0].load_state_dict({"bias": torch.randn(4)}, strict=False, assign=True)


def _swapped(model: nn.Module) -> None:
    torch.utils.swap_tensors(model[0].bias, nn.Parameter(torch.randn(4)))


def _set(model: nn.Module) -> None:
    with torch.no_grad():
        model[0].bias.set_(torch.randn(4))


def _foreach(model: nn.Module) -> None:
    with torch.no_grad():
        torch._foreach_add_([model[0].bias, model[2].bias], 1.0)


def _statistics(model: nn.Module) -> None:
    model[1].train()
    with torch.no_grad():
        model[1](torch.randn(8, 4))
    model[1].eval()


@pytest.mark.parametrize(
    ("write", "want"),
    [
        (_in_place, TIED),
        (_inference_mode, TIED),
        (_data, TIED),
        (_transposed, TIED),
        (_narrowed, ["0.bias"]),
        (_replaced, ["0.bias"]),
        (_loaded, ["0.bias"]),
        (_assigned, ["0.bias"]),
        (_swapped, ["0.bias"]),
        (_set, ["0.bias"]),
        (_foreach, ["0.bias", "2.bias"]),
        (_statistics, ["1.running_mean", "1.running_var", "1.num_batches_tracked"]),
    ],
)
@pytest.mark.parametrize("track", ["version", "digest"])
def test_write_is_seen_once(
    write: Callable[[nn.Module], None], want: list[str], track: str
) -> None:
    model = _model()
    tracked = _Tracked(model, track)
    assert tracked.take() == []
    write(model)
    if track == "digest":
        # Digests see values: an equal copy is no change.
        want = [] if write is _replaced else want
    assert tracked.take() == want
    assert tracked.take() == []


@pytest.mark.parametrize("implementation", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_optimizer_step_is_seen(kind: str, implementation: str) -> None:
    model = _model()
    options = {"foreach": implementation == "foreach", "fused": implementation == "fused"}
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1, **options)
    model.eval()
    _step(optimizer, model)
    tracked = _Tracked(model)
    _step(optimizer, model)
    assert tracked.take() == ALL_PARAMETERS
    assert tracked.take() == []


class _RawOptimizer(torch.optim.Optimizer):
    """Writes as optimizers with kernels of their own do."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.sub_(parameter.grad.data)


def test_foreign_optimizer_step_is_seen() -> None:
    model = _model().eval()
    tracked = _Tracked(model)
    _step(_RawOptimizer(model.parameters(), {}), model)
    assert tracked.take() == ALL_PARAMETERS


def test_reused_address_does_not_pass_for_the_old_tensor() -> None:
    model = nn.Linear(1000, 1000)
    tracked = _Tracked(model)
    for _ in range(5):
        model.weight.data = torch.randn(1000, 1000)
        assert tracked.take() == [".weight"]
    # Without a reference to the storage of before, the allocator gives its address out again.
    for _ in range(5):
        model.weight = nn.Parameter(torch.randn(1000, 1000))
        assert tracked.take() == [".weight"]


def test_two_parameters_over_one_storage() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = nn.Parameter(model[0].weight.data)
    tracked = _Tracked(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert model[1].weight._version != model[0].weight._version
    assert tracked.take() == ["0.weight", "1.weight"]


def _untraced_writes() -> list[Callable[[nn.Module], None]]:
    def through_data(model: nn.Module) -> None:
        model[0].weight.data.add_(1)

    def through_numpy(model: nn.Module) -> None:
        array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = model[0].weight.detach().numpy()
        array += 1

    def assigned_back(model: nn.Module) -> None:
        model[0].weight.data += 1

    return [through_data, through_numpy, assigned_back]


@pytest.mark.parametrize("write", _untraced_writes())
def test_write_without_a_trace(write: Callable[[nn.Module], None]) -> None:
    model = _model()
    by_version, by_digest = _Tracked(model), _Tracked(model, "digest")
    write(model)
    # If PyTorch begins to leave a trace here, the table in docs/torch_compile.md must change.
    assert by_version.take() == []
    assert by_digest.take() == TIED
    by_version.tracker.notify(["0.weight"])
    assert by_version.take() == ["0.weight"]
    assert by_version.take() == []


def test_inference_tensors_are_tracked_by_digest() -> None:
    with torch.inference_mode():
        model = _model()
    tracked = _Tracked(model)
    assert tracked.take() == []
    with torch.inference_mode():
        model[0].weight[1, 2] += 1
    assert tracked.take() == TIED
    assert tracked.take() == []


def test_modes_do_not_look_like_changes() -> None:
    tracked = _Tracked(_model())
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert tracked.take() == []
            assert tracked.take() == []


def test_unaccepted_changes_are_told_again() -> None:
    model = _model()
    tracked = _Tracked(model)
    _replaced(model)
    assert tracked.tracker.changed(tracked.tensors()) == ["0.bias"]
    assert tracked.tracker.changed(tracked.tensors()) == ["0.bias"]
    # A write between changed and accept is part of the next round.
    with torch.no_grad():
        model[0].bias.add_(1)
    tracked.tracker.accept()
    assert tracked.take() == ["0.bias"]


def test_none_asks_nobody() -> None:
    model = _model()
    tracked = _Tracked(model, "none")
    _in_place(model)
    assert tracked.take() == []
    tracked.tracker.notify()
    assert tracked.take() == tracked.tracker.names
    assert tracked.take() == []


def test_errors() -> None:
    with pytest.raises(regraft.InvalidArgumentError, match=r"want one of 'version', 'digest'"):
        WeightTracker(["a"], [torch.ones(1)], track="versions")
    tracker = WeightTracker(["a"], [torch.ones(1)])
    with pytest.raises(regraft.NotFoundError, match="no weight is named b, c"):
        tracker.notify(["b", "a", "c"])
    assert tracker.changed() == []


def test_digests_are_of_values_in_logical_order() -> None:
    big = torch.randn(700, 1100)  # Several pieces.
    tensors = [big, big.t(), torch.tensor(3.0), torch.empty(0, 4), big.bfloat16()]
    before = digests(tensors)
    assert digests([big.t().contiguous(), big.clone()]) == [before[1], before[0]]
    assert len(set(before)) == len(before)
    regraft.set_thread_count(1)
    try:
        assert digests(tensors) == before
    finally:
        regraft.set_thread_count(2)
    big[699, 1099] = big[699, 1099] + 1
    after = digests(tensors)
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2:] == before[2:]


@pytest.mark.parametrize("tags", [True, False])
def test_container_watch(tags: bool) -> None:
    table, items = {"a": 1, "b": [2]}, ["x"]
    containers = [table, items]
    assert not _regraft.ContainerWatch(containers, tags).touched()
    writes: list[Callable[[], object]] = [
        lambda: table.update(a=1000),
        lambda: table.update(c=1),
        lambda: table.pop("c"),
        lambda: items.append("y"),
        lambda: items.__setitem__(0, "z"),
    ]
    for write in writes:
        watch = _regraft.ContainerWatch(containers, tags)
        write()
        assert watch.touched()
    watch = _regraft.ContainerWatch([table], tags)
    value = table.pop("b")
    table["b"] = value
    assert watch.touched() == (tags and _regraft.HAS_DICT_TAGS)


def test_peft_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones(3)
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "peft", raising=False)
        tracker = WeightTracker(["w"], [weight])
        assert tracker.changed() == []
    monkeypatch.setitem(sys.modules, "peft", importlib.import_module("peft"))
    assert tracker.changed() == ["w"]  # What was merged in between is not known.
    tracker.accept()
    assert tracker.changed() == []
