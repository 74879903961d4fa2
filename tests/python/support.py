"""What the Python tests share: errors of outputs, second weights, engines per model."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import regraft
from models import zoo
from regraft._compile import Source, compile_source, open_model
from regraft.settings import make_settings

# Relative L2 error to PyTorch f32: sums are taken in another order.
F32_TOLERANCE = 1e-5


def relative_error(have: Tensor, want: Tensor) -> float:
    """|have - want| / |want| in the L2 norm, in f64. NaN and infinities must agree in place."""
    have, want = have.detach().double().flatten(), want.detach().double().flatten()
    assert have.shape == want.shape, f"want {tuple(want.shape)}, have {tuple(have.shape)}"
    finite = torch.isfinite(want)
    assert torch.equal(finite, torch.isfinite(have)), "finite elements differ"
    have, want = have[finite], want[finite]
    norm = float(want.norm())
    return float((have - want).norm()) / (norm if norm > 0 else 1.0)


@dataclass(frozen=True)
class Truth:
    """Outputs of one model on one input: in f32, f64 and the error PyTorch's own bf16 makes."""

    f32: tuple[Tensor, ...]
    f64: tuple[Tensor, ...]
    bf16_error: tuple[float, ...]


def _cast_inputs(inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)


def truth(model: nn.Module, inputs: tuple[Tensor, ...]) -> Truth:
    f32 = zoo.run(model, inputs)
    f64 = zoo.run(copy.deepcopy(model).double(), _cast_inputs(inputs, torch.float64))
    low = zoo.run(copy.deepcopy(model).bfloat16(), _cast_inputs(inputs, torch.bfloat16))
    errors = tuple(relative_error(a, b) for a, b in zip(low, f64, strict=True))
    return Truth(f32, f64, errors)


@functools.lru_cache(maxsize=8)
def truth_of(name: str, seed: int, batch: int, sequence: int | None) -> Truth:
    """What the model of the zoo answers to its example inputs of seed 5."""
    return truth(model(name, seed), zoo.example_inputs(name, batch, seed=5, sequence=sequence))


def flat(outputs: object) -> tuple[Tensor, ...]:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    return tuple(leaves)


def check_outputs(precision: str, outputs: object, want: Truth) -> None:
    """The gates of every model: f32 against PyTorch f32, bf16 against what PyTorch's bf16 errs."""
    have = flat(outputs)
    assert len(have) == len(want.f32)
    for i, tensor in enumerate(have):
        if precision == "f32":
            error = relative_error(tensor, want.f32[i])
            assert error <= F32_TOLERANCE, f"output {i}: error {error:.2e}"
        else:
            error = relative_error(tensor, want.f64[i])
            limit = 2 * want.bf16_error[i]
            assert error <= limit, (
                f"output {i}: error {error:.2e}, PyTorch's bf16 twice {limit:.2e}"
            )


@functools.lru_cache(maxsize=4)
def model(name: str, seed: int) -> nn.Module:
    return zoo.build(name, seed)


@functools.lru_cache(maxsize=4)
def program(name: str, dialect: str, dynamic: bool = True) -> ExportedProgram:
    return zoo.program(name, dialect, dynamic=dynamic)


@functools.lru_cache(maxsize=4)
def _source(name: str, dialect: str, dynamic: bool) -> Source:
    return open_model(program(name, dialect, dynamic), (), {}, None)


def compiled(name: str, dialect: str, *, dynamic: bool = True, **options: Any) -> regraft.Engine:
    """What `regraft.compile` makes of a model of the zoo, which is handed to the core once: that
    takes longer than compiling it."""
    source = _source(name, dialect, dynamic)
    engine: regraft.Engine = compile_source(source, make_settings({"backend": "cpu", **options}))
    return engine


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit: NaN equals the same NaN, 0.0 does not equal -0.0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return (
        a.contiguous().flatten().view(torch.uint8).equal(b.contiguous().flatten().view(torch.uint8))
    )
