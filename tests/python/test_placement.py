"""Where a program runs when nobody says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

import regraft
from regraft._placement import placed
from regraft.settings import make_settings


def _where(model: object, call: object = (), **options: Any) -> tuple[str | None, str | None]:
    settings = placed(make_settings(options), model, call)
    return settings.backend, None if settings.device is None else str(settings.device)


def test_models_run_where_they_are() -> None:
    # Tensors without memory: no GPU is needed.
    with FakeTensorMode():
        there, here = nn.Linear(3, 3, device="cuda:1"), nn.Linear(3, 3)
        buffers = nn.BatchNorm1d(3, affine=False, device="cuda:0")
        x, y = torch.empty(2, 3, device="cuda:1"), torch.empty(2, 3, device="cuda:0")
        assert _where(there) == ("cuda", "cuda:1")
        assert _where(buffers) == ("cuda", "cuda:0")
        assert _where(here) == ("cpu", None)
        assert _where(nn.ReLU(), ((), {"nested": [x]})) == ("cuda", "cuda:1")
        assert _where(nn.ReLU(), ((x, y), {})) == ("cuda", None)
        program = torch.export.export(there, (x,))
    assert _where(program) == ("cuda", "cuda:1")
    assert _where(torch.export.export(nn.Linear(3, 3), (torch.empty(2, 3),))) == ("cpu", None)
    assert _where("model.pt2") == ("cpu", None)


def test_what_is_asked_for_counts() -> None:
    with FakeTensorMode():
        there = nn.Linear(3, 3, device="cuda:1")
    assert _where(there, backend="cpu") == ("cpu", None)
    assert _where(there, backend="cuda") == ("cuda", None)
    assert _where(there, device="cuda:0") == ("cuda", "cuda:0")
    assert _where(there, device=torch.device("cpu")) == ("cpu", "cpu")


def test_the_backend_is_that_of_the_device() -> None:
    model, x = nn.Linear(3, 3).eval(), torch.ones(2, 3)
    with pytest.raises(regraft.InvalidArgumentError, match="no backend 'xpu'"):
        regraft.compile(model, (x,), device="xpu")
    assert regraft.compile(model, (x,), device="cpu").backend == "cpu"


class Sized(nn.Module):
    """Some of it runs in PyTorch; a size and a number of the call reach the engines alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor, number: int) -> Tensor:
        best, _ = torch.topk(self.layer(x), 2)
        return best.sum(-1) + torch.arange(x.shape[0], device="cpu") * y.shape[0] + number


def test_the_default_device_is_not_that_of_engines(tmp_path: Path) -> None:
    net, x, y = Sized().eval(), torch.randn(3, 4), torch.randn(5)
    free = {"x": {0: Dim.AUTO}, "y": {0: Dim.AUTO}, "number": Dim.DYNAMIC}
    module = regraft.compile(
        net, (x, y, 7), dynamic_shapes=free, backend="cpu", torch_executed_ops=["aten.topk"]
    )
    module.save(tmp_path / "m")
    compiled = torch.compile(lambda x, number: net(x, y, number), backend="regraft", dynamic=True)
    with torch.no_grad():
        want, called = net(x, y, 9), net(x, y, 3)
        compiled(x, 5)
        with torch.device("meta"):
            torch.testing.assert_close(module(x, y, 9), want)
            torch.testing.assert_close(regraft.load(tmp_path / "m")(x, y, 9), want)
            torch.testing.assert_close(compiled(x, 3), called)
