"""Mutable modules: every change of the wrapped module is in the next call, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mutable_net import MutableNet
from torch import nn
from torch.export import Dim

import regraft
import support
from models import zoo
from regraft import MutableModule, _regraft
from regraft.mutable import follower as follower_module
from regraft.mutable.watch import ModuleWatch


class _Case:
    """A module beside its mutable one, and what the last calls did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.net = MutableNet().eval()
        self.mutable = MutableModule(self.net, **settings)
        self.builds = 0
        self.refits: list[regraft.RefitReport] = []
        compile_, refit = follower_module.compile, regraft.Engine.refit

        def counted_compile(*args: Any, **kwargs: Any) -> Any:
            self.builds += 1
            return compile_(*args, **kwargs)

        def counted_refit(engine: regraft.Engine, *args: Any, **kwargs: Any) -> Any:
            self.refits.append(refit(engine, *args, **kwargs))
            return self.refits[-1]

        monkeypatch.setattr(follower_module, "compile", counted_compile)
        monkeypatch.setattr(regraft.Engine, "refit", counted_refit)

    def check(self, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            have, want = self.mutable(*args, **kwargs), self.net(*args, **kwargs)
        torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4)
        assert self.mutable.compilations == self.builds

    def parameters(self) -> list[list[str]]:
        """Of each refit since the last question."""
        names = [sorted(report.parameters) for report in self.refits]
        self.refits.clear()
        return names


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> _Case:
    return _Case(monkeypatch)


def _through_wrapper(case: _Case) -> None:
    case.mutable.shift = torch.randn(4)


def _own_handle(case: _Case) -> None:
    with torch.no_grad():
        case.net.first.weight.mul_(2)


def _one_element(case: _Case) -> None:
    with torch.no_grad():
        case.net.head[0].weight[1, 2] = 0.25
        case.check(torch.ones(3, 4))
        case.parameters()
        case.net.head[0].weight[1, 2] += 1e-7


def _parameter(case: _Case) -> None:
    case.mutable.head[0].bias = nn.Parameter(torch.randn(4))


def _attribute(case: _Case) -> None:
    case.net.plain = torch.randn(4)


def _in_a_list(case: _Case) -> None:
    case.net.table["inner"][0].mul_(2)


def _statistics(case: _Case) -> None:
    case.net.norm.running_mean.add_(1)


def _data(case: _Case) -> None:
    case.mutable.norm.weight.data = torch.randn(4)


@pytest.mark.parametrize(
    ("write", "want"),
    [
        (_through_wrapper, ["shift"]),
        (_own_handle, ["first.weight"]),
        (_one_element, ["head.0.weight"]),
        (_parameter, ["head.0.bias"]),
        (_attribute, ["plain"]),
        (_statistics, ["norm.running_mean"]),
        (_data, ["norm.weight"]),
    ],
)
def test_value_changes_refit_exactly_what_changed(
    case: _Case, write: Callable[[_Case], None], want: list[str]
) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    case.check(x)
    assert case.parameters() == []
    write(case)
    case.check(x)
    assert case.parameters() == [want]
    case.check(x)
    assert case.parameters() == []
    assert case.builds == 1


def test_one_element_of_1e_7_changes_the_bits(case: _Case) -> None:
    x = torch.randn(3, 4)
    with torch.no_grad():
        case.net.head[0].weight[1, 2] = 0.25
        case.mutable(x)
        case.net.head[0].weight[1, 2] += 1e-7
        exact = float(case.mutable.engines[-1].parameter("head.0.weight")[1, 2])
        case.mutable(x)
    assert exact == 0.25
    assert case.mutable.engines[-1].parameter("head.0.weight").equal(case.net.head[0].weight)


def test_refit_equals_build(case: _Case) -> None:
    x = torch.randn(3, 4)
    with torch.no_grad():
        case.mutable(x)
        case.net.load_state_dict(MutableNet().state_dict())
        have = case.mutable(x)["y"]
        want = MutableModule(case.net)(x)["y"]
    assert support.same_bits(have, want)
    assert case.builds == 2


def test_tensors_in_containers_are_followed(case: _Case) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    _in_a_list(case)
    case.check(x)
    case.net.table["inner"][0] = torch.randn(4)
    case.check(x)
    case.net.table["inner"] = [torch.randn(4)]
    case.check(x)
    assert case.builds == 1


def _setting(case: _Case) -> None:
    case.net.config.factor = 3.0


def _nested_setting(case: _Case) -> None:
    case.net.config.options["sign"] = -1


def _submodule(case: _Case) -> None:
    case.net.head[1] = nn.Tanh()


def _epsilon(case: _Case) -> None:
    case.mutable.norm.eps = 0.5


def _untied(case: _Case) -> None:
    case.mutable.tied = nn.Linear(4, 4)


def _hook(case: _Case) -> None:
    case.net.head.register_forward_hook(lambda module, args, output: output * 3)


def _forward(case: _Case) -> None:
    case.net.forward = lambda x: {"y": x * case.net.scale}


def _wider(case: _Case) -> None:
    case.net.head[0] = nn.Linear(4, 1)


def _reshaped(case: _Case) -> None:
    case.net.scale.data = torch.randn(1)


def _lower(case: _Case) -> None:
    case.net.plain = case.net.plain.bfloat16()


@pytest.mark.parametrize(
    "change",
    [
        _setting,
        _nested_setting,
        _submodule,
        _epsilon,
        _untied,
        _hook,
        _forward,
        _wider,
        _reshaped,
        _lower,
    ],
)
def test_structure_changes_compile(case: _Case, change: Callable[[_Case], None]) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    change(case)
    case.check(x)
    case.check(x)
    assert case.builds == 2


def test_a_structure_that_comes_back_is_not_compiled_again(case: _Case) -> None:
    x, tanh, relu = torch.randn(3, 4), nn.Tanh(), case.net.head[1]
    for activation in (relu, tanh, relu, tanh):
        case.net.head[1] = activation
        with torch.no_grad():
            case.net.first.weight.mul_(1.5)
        case.check(x)
    assert case.builds == 2


def test_modes_between_calls_are_no_change(case: _Case) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    case.mutable.train()
    case.mutable.eval()
    case.net.requires_grad_(False).requires_grad_(True)
    case.check(x)
    assert case.parameters() == []
    case.mutable.train()
    with pytest.raises(regraft.InvalidArgumentError, match="call eval"):
        case.mutable(x)
    case.mutable.eval()
    case.check(x)
    assert case.builds == 1


def test_training_loop(case: _Case) -> None:
    x = torch.randn(16, 4)
    optimizer = torch.optim.AdamW(case.net.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        case.net.train()
        optimizer.zero_grad()
        case.net(x)["y"].square().mean().backward()
        optimizer.step()
        case.net.eval()
        case.check(x)
    assert case.builds == 1


def test_merged_and_unloaded_adapters_leave_no_doubt(case: _Case) -> None:
    x, base = torch.randn(3, 4), case.net.head[0]
    case.check(x)
    # As PEFT does: a wrapper in its place, the delta through .data, the base layer back.
    case.net.head[0] = nn.Sequential(base)
    base.weight.data += 1
    case.net.head[0] = base
    case.check(x)
    assert case.builds == 1


def test_new_sizes_become_free(case: _Case) -> None:
    for batch in (3, 5, 9, 2, 64):
        case.check(torch.randn(batch, 4))
        case.net.scale.mul_(1.1)
    assert case.builds == 2
    assert len(case.mutable.engines) == 1
    case.check(torch.randn(1, 4))
    case.check(torch.randn(1, 4))
    case.check(torch.randn(7, 4))
    assert case.builds == 3


def test_calls_that_no_engine_takes_are_errors() -> None:
    mutable = MutableModule(nn.ReLU().eval())
    for batch in (2, 3):
        mutable(torch.randn(batch, 4))
    for _ in range(2):
        with pytest.raises(regraft.MismatchError, match="want host memory, have meta"):
            mutable(torch.empty(4, 4, device="meta"))
    for batch in (4, 5):
        x = torch.randn(batch, 4)
        assert torch.equal(mutable(x), x.relu())
    assert (
        mutable.compilations == 3
    )  # For the first sizes, any sizes, and those of the refused call.


def test_what_cannot_leave_sizes_free_is_compiled_for_each(
    case: _Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports: list[Any] = []
    compile_, export = follower_module.compile, torch.export.export

    def counted_export(*args: Any, **kwargs: Any) -> Any:
        exports.append(kwargs["dynamic_shapes"])
        return export(*args, **kwargs)

    def compile_fixed(program: Any, **settings: Any) -> Any:
        if program.range_constraints:
            raise regraft.InvalidArgumentError("[shape] division of 2 by zero")
        return compile_(program, **settings)

    monkeypatch.setattr(torch.export, "export", counted_export)
    monkeypatch.setattr(follower_module, "compile", compile_fixed)
    for batch in (8, 12, 16, 12, 8):
        case.check(torch.randn(batch, 4))
        case.net.scale.mul_(1.1)
    assert [shapes is None for shapes in exports] == [True, False, True, True]
    assert case.builds == 3


def test_values_of_weights_as_numbers(case: _Case) -> None:
    case.net.register_buffer("factor", torch.tensor(3))
    case.net.forward = lambda x: case.net.head(x) * case.net.factor.item()
    for batch in (3, 5, 7):
        case.check(torch.randn(batch, 4))
        case.net.factor.add_(1)
        case.check(torch.randn(batch, 4))
    assert case.builds == 2


def test_expected_ranges(case: _Case) -> None:
    batch = Dim("batch", min=2, max=8)
    case.mutable.set_expected_dynamic_shape_range(({0: batch},), {"pair": {"a": [{0: batch}]}})
    for size in (2, 8, 5):
        case.check(torch.randn(size, 4), pair={"a": [torch.randn(size, 4)]})
    assert case.builds == 1
    with pytest.warns(UserWarning, match="does not fit the expected dynamic shapes"):
        case.check(torch.randn(9, 4), pair={"a": [torch.randn(9, 4)]})
    case.check(torch.randn(4, 4), pair={"a": [torch.randn(4, 4)]})
    assert case.builds == 2
    with pytest.raises(TypeError, match="want a tuple and a dict, have list and dict"):
        case.mutable.set_expected_dynamic_shape_range([], {})


def test_kinds_of_calls(case: _Case) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    case.check(x, False)
    case.check(x, flag=False)
    case.check(x, pair={"a": [x]})
    case.check(pair={"a": [x]}, x=x)
    case.check(x=x, pair={"a": [x]})
    assert case.builds == 5
    with torch.no_grad():
        case.net.first.bias.add_(1)
    case.check(x, pair={"a": [x]})
    case.check(x=x, pair={"a": [x]})
    case.check(x, False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_part_of_the_call(case: _Case, tmp_path: Path, dtype: torch.dtype) -> None:
    case.net.forward = lambda x: case.net.head(x)
    x, path = torch.randn(3, 4), tmp_path / "net.mutable"

    def check(mutable: Any, want: torch.dtype, batch: int = 3) -> None:
        torch.clear_autocast_cache()  # PyTorch keeps casts of weights that changed since.
        x = torch.randn(batch, 4)
        with torch.no_grad():
            have = mutable(x)
            assert have.dtype == want
            assert support.relative_error(have, case.net(x)) < 0.01

    check(case.mutable, torch.float32)
    for _ in range(2):
        with torch.autocast("cpu", dtype):
            check(case.mutable, dtype)
            with torch.autocast("cpu", enabled=False):
                check(case.mutable, torch.float32)
        check(case.mutable, torch.float32)
        case.net.head[0].weight.data.mul_(2)
        case.mutable.notify_weights_changed()
    assert case.builds == 2
    with torch.autocast("cpu", dtype):
        for batch in (5, 7):
            check(case.mutable, dtype, batch)
    assert case.builds == 3
    case.mutable.save(case.mutable, path)
    loaded: Any = MutableModule.load(path)
    check(loaded, torch.float32)
    with torch.autocast("cpu", dtype):
        check(loaded, dtype, 9)
        assert regraft.compile(case.net, (x,))(x).dtype == dtype


def test_engines_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _Case(monkeypatch, max_engines=1)
    x = torch.randn(3, 4)
    for flag in (True, False, True):
        case.check(x, flag)
    assert case.builds == 3
    assert len(case.mutable.engines) == 1
    with pytest.raises(regraft.InvalidArgumentError, match="want at least 1, have 0"):
        MutableModule(case.net, max_engines=0)


def test_failed_refit_is_tried_again(case: _Case, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    case.net.scale.mul_(2)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(regraft.Engine, "refit", fail)
        for _ in range(2):
            with pytest.raises(MemoryError, match="no room"):
                case.mutable(x)
    case.check(x)
    assert case.parameters() == [["scale"]]


def test_untraced_writes(case: _Case, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 4)
    case.check(x)
    case.net.scale.data.add_(1)
    case.mutable.notify_weights_changed(["scale"])
    case.check(x)
    case.net.scale.data.add_(1)
    regraft.notify_weights_changed(case.net)
    case.check(x)
    with pytest.raises(regraft.NotFoundError, match="nothing, scala"):
        case.mutable.notify_weights_changed(["scala", "scale", "nothing"])
    digested = _Case(monkeypatch, track="digest")
    digested.check(x)
    digested.net.scale.data.add_(1)
    digested.check(x)
    assert digested.parameters() == [["scale"]]


def test_save_and_load(case: _Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.mutable"
    for batch in (3, 5):
        case.check(torch.randn(batch, 4))
    case.mutable.save(case.mutable, path)
    assert sorted(tmp_path.iterdir()) == [path]
    net = MutableNet().eval()
    loaded = MutableModule.load(path, net)
    case.builds = 0
    x = torch.randn(7, 4)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), net(x))
        net.scale.add_(1)
        torch.testing.assert_close(loaded(x), net(x))
        assert case.builds == 0
        net.head[1] = nn.Tanh()
        torch.testing.assert_close(loaded(x), net(x))
    assert case.builds == 1


@pytest.mark.parametrize("tags", [True, False])
def test_watch_tells_what_was_touched(tags: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    watch_class = _regraft.ContainerWatch  # Python numbers the states of dicts up to 3.12 only.
    monkeypatch.setattr(_regraft, "ContainerWatch", lambda c, _: watch_class(c, tags))
    net = MutableNet()
    watch = ModuleWatch(net)
    assert not watch.is_touched()
    net.plain = torch.randn(4)
    net.norm.weight = nn.Parameter(torch.randn(4))
    assert ModuleWatch(net).structure == watch.structure
    net.config.factor = float("2.0")
    assert ModuleWatch(net).structure == watch.structure
    watch = ModuleWatch(net)
    head = net.head[0]
    net.head[0] = nn.Identity()
    net.head[0] = head
    assert watch.is_touched()
    assert watch.is_exchanged
    assert ModuleWatch(net).structure == watch.structure
    net.new = 1
    assert ModuleWatch(net).structure != watch.structure


@pytest.mark.parametrize("name", ["tiny_resnet18", "tiny_bert"])
@pytest.mark.parametrize("strict", [False, True])
def test_models(name: str, strict: bool) -> None:
    model = zoo.build(name)
    mutable: Any = MutableModule(model, strict=strict)
    inputs = zoo.example_inputs(name)
    with torch.no_grad():
        for seed in (0, 1):
            model.load_state_dict(zoo.build(name, seed).state_dict())
            have, want = support.flat(mutable(*inputs)), support.flat(model(*inputs))
            for a, b in zip(have, want, strict=True):
                assert support.relative_error(a, b) <= support.F32_TOLERANCE
    assert len(mutable.engines) == 1
