"""Where a program runs when nobody says it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

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
