"""A LoRA adapter: low-rank changes and replacements of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch

from regraft import _regraft
from regraft._cuda import current_stream
from regraft._handover import plain, source_of
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

    @cached_property
    def nbytes(self) -> int:
        return int(self.a.nbytes + self.b.nbytes)


@dataclass(frozen=True, eq=False)
class Replacement:
    """A value that takes the place of a parameter's (PEFT's ``modules_to_save``)."""

    value: torch.Tensor

    @cached_property
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

    @cached_property
    def nbytes(self) -> int:
        own = 0 if self.replacement is None else self.replacement.nbytes
        return own + sum(delta.nbytes for delta, _ in self.terms)

    @cached_property
    def rows(self) -> list[tuple[torch.Tensor, torch.Tensor, float, bool]]:
        """A, B, scale and orientation of each term."""
        return [
            (delta.a, delta.b, delta.scale * scale, delta.transposed) for delta, scale in self.terms
        ]

    def base(self, base: torch.Tensor) -> torch.Tensor:
        """What the terms are added to, of the dtype and where the parameter's base value is."""
        if self.replacement is None:
            return base
        return in_dtype(self.replacement.value, base).to(base.device)

    def value(self, base: torch.Tensor) -> torch.Tensor:
        """The base with every term added, in one rounding; of the base's dtype, on the host."""
        base = self.base(base)
        if not self.terms:
            return base
        kept = [(plain(a), plain(b), *rest) for a, b, *rest in self.rows]
        rows = [(row_of("A", a), row_of("B", b), *rest) for a, b, *rest in kept]
        base = plain(base)
        merged: object = _regraft.merge_lora(row_of("base", base), rows)
        assert isinstance(merged, torch.Tensor)
        return merged


def differ(was: Recipe | None, will: Recipe | None) -> bool:
    """Whether they give other values; most of the time, they are one or have other terms."""
    if was is will:
        return False
    if was is None or will is None:
        return True
    return was.terms != will.terms or was.replacement is not will.replacement


def in_dtype(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The value in another tensor's dtype, in one rounding."""
    return value if value.dtype == like.dtype else value.to(like.dtype)


class Merge(NamedTuple):
    """A new value of a parameter, yet to be calculated: what adapters are added to, and how."""

    base: torch.Tensor
    recipe: Recipe

    def value(self) -> torch.Tensor:
        """The sum, on the host."""
        return self.recipe.value(self.base)


def values_of(merges: Mapping[str, Merge]) -> dict[str, torch.Tensor]:
    """The values that refits are made of, on the host."""
    return {name: merge.value() for name, merge in merges.items()}


def owned(tensors: Sequence[torch.Tensor], device: torch.device | None) -> list[torch.Tensor]:
    """Copies that nobody else writes to, on the host or (together) in memory of a device."""
    if device is None:
        return [plain(t).clone(memory_format=torch.contiguous_format) for t in tensors]
    places: dict[torch.dtype, dict[str, torch.Tensor]] = {}
    for i, tensor in enumerate(tensors):
        places.setdefault(tensor.dtype, {})[str(i)] = tensor
    copies: list[torch.Tensor] = list(tensors)
    stream = current_stream(device)
    for dtype, given in places.items():
        sizes = [tensor.numel() for tensor in given.values()]
        flat = torch.empty(sum(sizes), dtype=dtype, device=device)
        source, kept = source_of(given, device)
        _regraft.copy_tensors(source, str(device), flat.data_ptr(), stream)
        del kept
        for key, part in zip(given, flat.split(sizes), strict=True):
            copies[int(key)] = part.view(given[key].shape)
    return copies
