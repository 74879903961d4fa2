"""A network in which most that can go wrong with weights can."""

from __future__ import annotations

import torch
from torch import nn


class SmallNet(nn.Module):
    """A batch norm to fold, an op to keep out, a linear to adapt, a tied weight."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.first = nn.Linear(16, 16)
        self.middle = nn.Linear(16, 16)
        self.last = nn.Linear(16, 16, bias=False)
        self.last.weight = self.first.weight
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in [*self.parameters(), *self.buffers()]:
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
            self.norm.running_var.abs_().add_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        x = torch.cumsum(self.first(x), 1)
        result: torch.Tensor = self.last(self.middle(x).tanh())
        return result
