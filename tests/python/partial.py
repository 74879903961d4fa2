"""Small programs that run partly in PyTorch, for the tests of modules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import regraft
from regraft._compile import compile_module
from regraft.settings import make_settings

# No kernel of Regraft: runs in PyTorch.
xlog1py = torch.special.xlog1py  # x * log(1 + y)


class Layers(nn.Module):
    """Engines and PyTorch segments by turns, with weights on both sides.

    Batch norm (folds), a tied weight across two engines and a PyTorch segment, a non-persistent
    buffer and a lifted constant read in PyTorch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.first.weight
        self.shift = nn.Parameter(torch.rand(6) + 0.5)
        self.register_buffer("scale", torch.rand(6) + 0.5)
        self.register_buffer("hidden", torch.rand(6), persistent=False)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.norm(self.first(x))
        y = xlog1py(torch.special.i0(y.tanh() * self.scale), self.hidden)
        z = xlog1py(torch.relu(self.tied(y)), torch.tensor([0.5, 0.25, 0.125, 1.0, 2.0, 3.0]))
        w = xlog1py((z @ self.first.weight).tanh(), self.shift)
        return {"y": y, "out": self.last(w)}


def layers(seed: int) -> Layers:
    """The module in evaluation mode with random weights and batch-norm statistics."""
    torch.manual_seed(seed)
    model = Layers()
    for value in (model.norm.running_mean, model.norm.running_var):
        assert value is not None
        value.copy_(torch.rand(6) + 0.5)
    return model.eval().requires_grad_(False)


def layers_program(seed: int, dynamic: bool = True) -> ExportedProgram:
    shapes = ({0: Dim("batch", min=2, max=64)},) if dynamic else None
    return torch.export.export(layers(seed), (torch.randn(4, 6),), dynamic_shapes=shapes)


def small(seed: int) -> nn.Sequential:
    """A linear layer and batch norm, which folds into it."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)


class Generations(nn.Module):
    """Every layer adds its weight, which is the number of the generation, to a digit of its own."""

    LAYERS = 7

    def __init__(self, generation: float = 1.0) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.full((8,), float(generation))) for _ in range(self.LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for i, weight in enumerate(self.weights):
            # With aten.maximum kept out, odd layers run in PyTorch between two engines.
            x = torch.maximum(x * 0.0, weight) if i % 2 else x * 0.0 + weight
            outputs.append(x)
        return torch.stack(outputs)


def generations_state(generation: float) -> dict[str, Tensor]:
    return {f"weights.{i}": torch.full((8,), float(generation)) for i in range(Generations.LAYERS)}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of a module by name, non-persistent buffers included."""
    found: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    found.update(model.named_buffers(remove_duplicate=False))
    return copy.deepcopy({name: value.detach() for name, value in found.items()})


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, leaf by leaf."""
    x, y = torch.utils._pytree.tree_leaves(a), torch.utils._pytree.tree_leaves(b)
    return len(x) == len(y) and all(torch.equal(m, n) for m, n in zip(x, y, strict=True))


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


X = torch.linspace(-2, 2, 24).reshape(4, 6)  # For `layers`.


def module(seed: int = 0, **options: object) -> regraft.Module:
    return regraft.compile(layers_program(seed), **options)


def whole_module(model: nn.Module, *inputs: Tensor, **options: Any) -> regraft.Module:
    """A module of one engine."""
    compiled = compile_module(torch.export.export(model, inputs), make_settings(options))
    assert isinstance(compiled, regraft.Module)
    return compiled
