"""Modules that hold tensors in several ways."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Tied layers, random batch-norm statistics, a buffer of each kind, a tensor attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.tied = self.first
        self.register_buffer("scale", torch.randn(4))
        self.register_buffer("shift", torch.randn(4), persistent=False)
        self.plain = torch.randn(4)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.tied(self.first(x))) * self.scale + self.shift + self.plain


class MutableNet(Net):
    """Tensors in odd places as well, plain settings, structured arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.table = {"inner": [torch.randn(4)]}
        self.config = SimpleNamespace(factor=2.0, options={"sign": 1})

    def forward(self, x: Tensor, flag: bool = True, *, pair: Any = None) -> dict[str, Tensor]:
        y = self.head(super().forward(x)) + self.table["inner"][0]
        if pair is not None:
            y = y + pair["a"][0]
        return {"y": y * self.config.factor * self.config.options["sign"] if flag else -y}
