"""Every op that PyTorch has samples for, on these samples: whatever runs where, the answer is
PyTorch's."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

import regraft

SAMPLES = 2  # Of each op, from the first to the last.
LIMIT = 1e-4  # Relative L2 error. Samples are tiny, sums short.
# What Regraft says of programs that it cannot run, in parts neither.
REFUSED = {
    "the program changes ": "changes what it was given",
    "PyTorch cannot make it functional": "PyTorch cannot make it functional",
}


def _left_out() -> dict[str, str]:
    lines = Path(__file__).with_name("op_samples.txt").read_text().splitlines()
    pairs = (tuple(line.split(": ", 1)) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


LEFT_OUT = _left_out()
DTYPES = (torch.float32, torch.complex64, torch.int64, torch.bool)
OPS = {
    f"{op.name}.{op.variant_test_name}".rstrip("."): op
    for op in op_db
    if op.supported_dtypes("cpu") & {*DTYPES}
}


class Program(nn.Module):
    """A call of an op; tensors are inputs or, with `as_parameters`, parameters but for the last."""

    def __init__(self, op: Callable[..., Any], call: Any, as_parameters: bool) -> None:
        super().__init__()
        leaves, self.spec = pytree.tree_flatten(call)
        self.op, self.leaves = op, leaves
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.fixed = places[:-1] if as_parameters else []
        self.free = [i for i in places if i not in self.fixed]
        for i in self.fixed:
            self.register_buffer(f"leaf_{i}", leaves[i])

    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(self.leaves[i] for i in self.free)

    def forward(self, *tensors: Tensor) -> list[Any]:
        leaves = list(self.leaves)
        for i, tensor in zip(self.free, tensors, strict=True):
            leaves[i] = tensor
        for i in self.fixed:
            leaves[i] = getattr(self, f"leaf_{i}")
        first, args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        results = pytree.tree_leaves(self.op(first, *args, **kwargs))
        return [x.clone() if isinstance(x, Tensor) else x for x in results]


def _exported(program: Program, dynamic: bool) -> ExportedProgram | None:
    """None where PyTorch cannot export the call."""
    inputs = program.inputs()
    shapes = ([dict.fromkeys(range(x.dim()), Dim.AUTO) for x in inputs],) if dynamic else None
    try:
        with torch.no_grad():
            return torch.export.export(program, inputs, dynamic_shapes=shapes)
    except Exception:
        return None


def _want_same(have: Any, want: Any) -> None:
    if not isinstance(want, Tensor):
        assert have == want or (have != have and want != want)
        return
    assert (have.dtype, have.shape) == (want.dtype, want.shape)
    if not want.dtype.is_floating_point and not want.dtype.is_complex:
        assert torch.equal(have, want)
        return
    finite = torch.isfinite(want)
    assert torch.equal(torch.isfinite(have), finite)
    kind = torch.complex128 if want.dtype.is_complex else torch.float64
    error = (have[finite].to(kind) - want[finite].to(kind)).norm()
    assert error <= LIMIT * want[finite].to(kind).norm()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(OPS))
def test_op(name: str) -> None:
    for pattern, reason in LEFT_OUT.items():
        if fnmatch.fnmatchcase(name, pattern):
            pytest.skip(reason)
    op = OPS[name]
    dtype = next(t for t in DTYPES if t in op.supported_dtypes("cpu"))
    samples = list(op.sample_inputs("cpu", dtype, requires_grad=False))
    step = max(1, (len(samples) - 1) // max(1, SAMPLES - 1))
    reasons = set()
    compared = 0
    for sample in samples[::step][:SAMPLES]:
        if sample.kwargs.get("dropout_p"):
            reasons.add("draws random numbers")
            continue
        call = (sample.input, sample.args, sample.kwargs)
        for as_parameters in (False, True):
            program = Program(op.op, call, as_parameters).eval()
            if not program.inputs():
                reasons.add("has no input")
                continue
            exported = _exported(program, dynamic=as_parameters)
            if exported is None:
                reasons.add("torch.export refuses it")
                continue
            inputs = program.inputs()
            want = program(*(x.clone() for x in inputs))
            try:
                have = pytree.tree_leaves(regraft.compile(exported)(*inputs))
            except regraft.UnsupportedError as error:
                reason = next((r for text, r in REFUSED.items() if text in str(error)), None)
                if reason is None:
                    raise
                reasons.add(reason)
                continue
            assert len(have) == len(want)
            for one, other in zip(have, want, strict=True):
                _want_same(one, other)
            compared += 1
    if compared == 0:
        pytest.skip(", ".join(sorted(reasons)))
