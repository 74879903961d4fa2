"""A GPU without memory left: errors, and everything as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

import regraft
import support

pytestmark = pytest.mark.cuda
_GIGABYTE = 1 << 30


class _Scaled(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).amax(1)


def test_weights_that_no_gpu_holds() -> None:
    # Of one element: they take no memory here.
    weight = torch.ones(()).expand(1 << 20, 1 << 20)
    with pytest.raises(regraft.OutOfMemoryError, match=r"4398046511104 bytes"):
        regraft.compile(_Scaled(weight).eval(), (torch.ones(1, 1 << 20),), backend="cuda")
    x = torch.rand(3, 5).cuda()
    engine = regraft.compile(_Scaled(torch.rand(3, 5)).eval().cuda(), (x,), backend="cuda")
    assert engine(x).shape == (3,)


@contextmanager
def _nothing_left() -> Iterator[None]:
    """All memory of the GPU is taken but what loading a small kernel wants."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    spare = torch.empty(1 << 26, dtype=torch.uint8, device="cuda")
    kept, piece = [], _GIGABYTE
    while piece >= 1 << 24:
        try:
            kept.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            piece //= 2
    del spare
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        kept.clear()
        torch.cuda.empty_cache()


@pytest.mark.slow  # Nothing else can use the GPU meanwhile.
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_refits_without_memory(precision: str) -> None:
    x = torch.rand(1, 8192).cuda()
    first, second = ((torch.rand(8192, 8192) + i).cuda() for i in range(2))
    engine = regraft.compile(_Scaled(first).eval(), (x,), backend="cuda", precision=precision)
    before = engine(x).cpu()
    with _nothing_left():
        for _ in range(2):
            with pytest.raises(regraft.OutOfMemoryError):
                engine.refit({"weight": second})
            assert engine.generation == 1
            assert support.same_bits(engine(x).cpu(), before)
        with pytest.raises(regraft.OutOfMemoryError):
            regraft.compile(_Scaled(second).eval(), (x,), backend="cuda", precision=precision)
        assert support.same_bits(engine(x).cpu(), before)
    engine.refit({"weight": second})
    fresh = regraft.compile(_Scaled(second).eval(), (x,), backend="cuda", precision=precision)
    assert support.same_bits(engine(x), fresh(x))
