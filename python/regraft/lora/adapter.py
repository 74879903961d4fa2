"""A LoRA adapter: low-rank changes and replacements of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch

from regraft import _regraft
from regraft._handover import plain
from regraft.module.source import row_of

# Scales of an adapter that are remembered.
_MOST_RECIPES = 4


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

    def and_then(self, other: Recipe) -> Recipe:
        """Both, of which one may have a replacement."""
        return Recipe(self.replacement or other.replacement, self.terms + other.terms)

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


@dataclass(frozen=True)
class Adapter:
    """Changes by canonical name of the parameter.

    Attributes:
        lease: Held by all adapters with deltas of this one: of memory that others get after them.
        known_recipes: Of this adapter alone, by its scale.
    """

    deltas: Mapping[str, Delta] = field(default_factory=dict)
    replaced: Mapping[str, Replacement] = field(default_factory=dict)
    lease: object = field(default=None, repr=False, compare=False)
    known_recipes: dict[float, Mapping[str, Recipe]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def recipes(self, scale: float) -> Mapping[str, Recipe]:
        """By parameter, where no other adapter is active."""
        found = self.known_recipes.get(scale)
        if found is None:
            if len(self.known_recipes) >= _MOST_RECIPES:
                self.known_recipes.clear()
            found = self.known_recipes[scale] = self._recipes(scale)
        return found

    def _recipes(self, scale: float) -> dict[str, Recipe]:
        made = {
            name: Recipe(self.replaced.get(name), ((delta, scale),))
            for name, delta in self.deltas.items()
            if delta.scale != 0
        }
        for name, replacement in self.replaced.items():
            made.setdefault(name, Recipe(replacement))
        return made


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
