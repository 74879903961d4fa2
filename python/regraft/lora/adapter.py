"""A LoRA adapter: low-rank changes and replacements of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from regraft import _regraft
from regraft._handover import plain
from regraft.module.source import row_of


@dataclass(frozen=True, eq=False)
class Delta:
    """``scale * B @ A``, to be added to a weight. Equal only to itself.

    Attributes:
        a: [rank, in] or [rank, in, kernel...].
        b: [out, rank] or [out, rank, 1...].
        scale: alpha / r and the like; an adapter's own scale comes on top.
        transposed: The weight is stored [in, out]: the transposed product is added.
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float = 1.0
    transposed: bool = False

    @property
    def nbytes(self) -> int:
        return int(self.a.nbytes + self.b.nbytes)


@dataclass(frozen=True, eq=False)
class Replacement:
    """A value that takes the place of a parameter's (PEFT's ``modules_to_save``)."""

    value: torch.Tensor

    @property
    def nbytes(self) -> int:
        return int(self.value.nbytes)


@dataclass(frozen=True)
class Adapter:
    """Changes by canonical name of the parameter."""

    deltas: Mapping[str, Delta] = field(default_factory=dict)
    replaced: Mapping[str, Replacement] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How the value of one parameter is made of its base value."""

    replacement: Replacement | None = None
    terms: tuple[tuple[Delta, float], ...] = ()

    @property
    def nbytes(self) -> int:
        own = 0 if self.replacement is None else self.replacement.nbytes
        return own + sum(delta.nbytes for delta, _ in self.terms)

    def value(self, base: torch.Tensor) -> torch.Tensor:
        """The base with every term added, in one rounding; of the base's dtype."""
        if self.replacement is not None:
            base = in_dtype(self.replacement.value, base)
        if not self.terms:
            return base
        kept = [(plain(delta.a), plain(delta.b)) for delta, _ in self.terms]
        rows = [
            (row_of("A", a), row_of("B", b), delta.scale * scale, delta.transposed)
            for (delta, scale), (a, b) in zip(self.terms, kept, strict=True)
        ]
        base = plain(base)
        merged: object = _regraft.merge_lora(row_of("base", base), rows)
        assert isinstance(merged, torch.Tensor)
        return merged


def in_dtype(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The value in another tensor's dtype, in one rounding."""
    return value if value.dtype == like.dtype else value.to(like.dtype)


def own(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in host memory that nobody else writes to."""
    return plain(tensor).clone(memory_format=torch.contiguous_format)
