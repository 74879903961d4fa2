"""Inputs and outputs of a module, and the check of a call against them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regraft import _regraft
from regraft._handover import dtype_name, unreadable
from regraft._sizes import holds, sizes_in
from regraft.errors import MismatchError
from regraft.module.table import spec_text


@dataclass(frozen=True)
class TensorSpec:
    """dtype and sizes at the boundary; sizes are expressions over the symbols."""

    name: str
    dtype: str
    dims: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.name}: {spec_text(self.dtype, self.dims)}"


@dataclass(frozen=True)
class SymbolRange:
    """A size that may differ from call to call. ``max`` is None where there is no bound."""

    name: str
    min: int
    max: int | None
    optimum: int = 0


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs and symbols of a module."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    symbols: tuple[SymbolRange, ...]
    # What holds between sizes beyond their ranges: "mod(s0,2) == 0".
    guards: tuple[str, ...] = ()

    def check(self, tensors: Sequence[torch.Tensor], numbers: Mapping[str, int]) -> None:
        """Checks what a call brings. Expressions over several symbols are left to the engines.

        Args:
            tensors: Of the inputs, in order.
            numbers: Values of the symbols of numbers that are passed.

        Raises:
            MismatchError: dtypes or sizes do not fit; lists every one.
        """
        known = dict(numbers)
        ranges = {symbol.name: symbol for symbol in self.symbols}
        problems = []
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            if tensor.layout != torch.strided or tensor.is_nested:
                problems.append(f"input '{spec.name}': {unreadable(tensor)}")
                continue
            fits = dtype_name(tensor.dtype) == spec.dtype and len(tensor.shape) == len(spec.dims)
            if fits:
                for want, have in zip(spec.dims, tensor.shape, strict=True):
                    if want in ranges:
                        symbol = ranges[want]
                        fits = fits and known.setdefault(want, have) == have >= symbol.min
                        fits = fits and (symbol.max is None or have <= symbol.max)
                    elif want.isdecimal():
                        fits = fits and int(want) == have
            if not fits:
                have_text = spec_text(dtype_name(tensor.dtype), tensor.shape)
                problems.append(
                    f"input '{spec.name}': want {spec_text(spec.dtype, spec.dims)}"
                    f"{_ranges(spec, ranges)}, have {have_text}"
                )
        if not problems:
            have_text = ", ".join(f"{name} = {size}" for name, size in known.items())
            problems = [
                f"inputs of these sizes go another way than the program that was exported: want "
                f"{guard}, have {have_text}"
                for guard in _broken(self.guards, tuple(known.items()))
            ]
        if problems:
            raise MismatchError("[engine] " + "; ".join(problems))


@functools.lru_cache(maxsize=1024)
def _broken(guards: tuple[str, ...], values: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """The guards of these symbols that do not hold."""
    known = dict(values)
    asked = (guard for guard in guards if sizes_in(guard) <= known.keys())
    return tuple(guard for guard in asked if not holds(guard, known))


def _ranges(spec: TensorSpec, ranges: Mapping[str, SymbolRange]) -> str:
    texts = [
        f"{s.name} >= {s.min}" if s.max is None else f"{s.name} in {s.min}..{s.max}"
        for s in ranges.values()
        if s.name in spec.dims
    ]
    return f" ({', '.join(texts)})" if texts else ""


def make_signature(
    core: _regraft.Program, ranges: Mapping[Any, Any], optimum: Mapping[str, int]
) -> Signature:
    """The signature of a program with torch's ``range_constraints``."""

    def specs(tensors: Sequence[_regraft.ProgramTensor]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(t.name, t.dtype, tuple(t.dims)) for t in tensors)

    inputs = specs(core.inputs())
    used = {dim for spec in inputs for dim in spec.dims}
    symbols = []
    for symbol, span in ranges.items():
        name = str(symbol)
        if name not in used:
            continue
        text = str(span.upper)  # Some infinity, or a number so large that it stands for one.
        upper = int(text) if text.isdecimal() and int(text) < 2**62 else None
        symbols.append(SymbolRange(name, max(int(span.lower), 0), upper, optimum.get(name, 0)))
    return Signature(inputs, specs(core.outputs()), tuple(symbols), tuple(core.guards()))
