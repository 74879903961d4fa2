"""Exports: one tensor in two places of an example call, or a weight there; several threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regraft
import regraft.torch_tensorrt as torch_tensorrt
from support import F32_TOLERANCE, flat, relative_error


class Steps(nn.Module):
    """Reads each place of a call in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, 4))
        self.register_buffer("shift", torch.randn(2, 4))
        self.layer = nn.Linear(4, 4)

    def forward(
        self, x: Tensor, cache: list[tuple[Tensor, Tensor]], *, bias: Tensor
    ) -> list[Tensor]:
        moved = [self.layer(key) * self.query - value for key, value in cache]
        return [self.layer(x) + self.shift, bias * 2, *moved]


class Table(nn.Module):
    """Looks its biases up once, in evaluation mode, as several vision transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.biases = nn.Parameter(torch.randn(6))
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Table:
        self.kept = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if "biases" not in self.kept:
            self.kept["biases"] = self.biases[torch.tensor([3, 0, 5, 0])]
        return self.layer(x) + self.kept["biases"]


def _call(*tensors: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x, a, b, c, d, bias = tensors
    return (x, [(a, b), (c, d)]), {"bias": bias}


def _compile(net: nn.Module, args: Any, kwargs: Any) -> Any:
    return regraft.compile(net, args, kwargs, backend="cpu")


def _exported(net: nn.Module, args: Any, kwargs: Any) -> Any:
    engine = _compile(net, *_call(*torch.randn(6, 2, 4)))
    return regraft.to_exported_program(engine, args, kwargs).module()


def _mutable(net: nn.Module, args: Any, kwargs: Any) -> Any:
    mutable = regraft.MutableModule(net, backend="cpu")
    mutable(*args, **kwargs)
    return mutable


def _traced(net: nn.Module, args: Any, kwargs: Any) -> Any:
    return torch_tensorrt.dynamo.trace(net, arg_inputs=args, kwarg_inputs=kwargs).module()


@pytest.mark.parametrize("make", [_compile, _exported, _mutable, _traced])
@pytest.mark.parametrize("shared", ["input", "parameter", "buffer"])
def test_every_tensor_is_an_input_of_its_own(
    make: Callable[[nn.Module, Any, Any], Any], shared: str
) -> None:
    net = Steps().eval()
    one = {"input": torch.randn(2, 4), "parameter": net.query, "buffer": net.shift}[shared]
    with torch.no_grad():
        compiled = make(net, *_call(*[one] * 6))
        for tensors in ([*torch.randn(6, 2, 4)], [one] * 6):
            args, kwargs = _call(*tensors)
            want = flat(net(*args, **kwargs))
            for have, value in zip(flat(compiled(*args, **kwargs)), want, strict=True):
                assert relative_error(have, value) <= F32_TOLERANCE


class InPlace(nn.Module):
    """Compiled from the functional program where an op of it runs in PyTorch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.last = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu_().add_(1))


def _in_parts(net: nn.Module, x: Tensor) -> Any:
    return regraft.compile(net, (x,), backend="cpu", torch_executed_ops=["aten.relu"])


def _program(net: nn.Module, x: Tensor) -> Any:
    engine = regraft.compile(net, (x,), backend="cpu")
    return regraft.to_exported_program(engine).module()


@pytest.fixture
def _threads_alternate_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_alternate_often")
def test_several_threads_compile() -> None:
    ways = [_in_parts, _program, lambda net, x: _mutable(net, (x,), {})]
    x = torch.randn(2, 4)

    def compile_some(thread: int) -> list[tuple[nn.Module, Any]]:
        nets = [InPlace(5 + thread).eval() for _ in range(6)]
        with torch.no_grad():
            return [(net, ways[(thread + i) % 3](net, x)) for i, net in enumerate(nets)]

    with ThreadPoolExecutor(4) as pool:
        made = [pair for pairs in pool.map(compile_some, range(4)) for pair in pairs]
    assert len(made) == 24
    with torch.no_grad():
        assert all(relative_error(have(x), net(x)) <= F32_TOLERANCE for net, have in made)


def test_modules_of_torch_export_are_in_no_training_mode() -> None:
    net, x = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval(), torch.randn(2, 4)
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    module = torch.export.export(net, (x,)).module()
    assert module.training
    with torch.no_grad():
        for compiled in (_compile(module, (x,), {}), _mutable(module, (x,), {})):
            assert relative_error(compiled(x), net(x)) <= F32_TOLERANCE
        with pytest.raises(regraft.InvalidArgumentError, match="training mode"):
            _compile(torch.fx.symbolic_trace(net.train()), (x,), {})


def test_what_a_module_keeps_of_its_weights_follows_refits() -> None:
    net, other, x = Table().eval(), Table().eval(), torch.randn(2, 4)
    with torch.no_grad():
        net(x)  # Keeps a table of these weights.
        engine = regraft.compile(net, (x,), backend="cpu")
        assert relative_error(engine(x), net(x)) < F32_TOLERANCE
        engine.refit(other.state_dict())
        assert relative_error(engine(x), other(x)) < F32_TOLERANCE


def test_modules_that_are_not_all_in_evaluation_mode_stay_as_they_are() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0)).eval()
    net[1].train()
    regraft.compile(net, (torch.randn(2, 4),), backend="cpu")
    assert net[1].training
