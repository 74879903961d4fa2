"""The form of adapters: what they have in common whose values alone differ."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from regraft import _regraft
from regraft.lora.adapter import Adapter, Delta, Recipe
from regraft.lora.config import LoraConfig
from regraft.lora.memory import Memory

# Adapters that are taken before a place that none of them has needed is given up.
_PATIENCE = 3


@dataclass(frozen=True, eq=False)
class Form:
    """All that deltas are made of but the values of A and B.

    Attributes:
        layout: Names, dtypes and sizes of A and B in their order.
        alphas: By name in the state dict.
        deltas: Parameter, the names of A and B, scale, transposed.
        places: Those of its adapters that are left, and those that the last few have needed.
    """

    prefix: str
    layout: _regraft.Layout
    alphas: tuple[tuple[str, float], ...]
    config: LoraConfig
    deltas: tuple[tuple[str, str, str, float, bool], ...]
    places: list[Place] = field(default_factory=list)

    def adapter(
        self,
        factors: Mapping[str, torch.Tensor],
        table: _regraft.Table,
        device: torch.device | None,
    ) -> Adapter:
        """An adapter in memory of its own, where it is merged: that of one that nobody has any
        more, if there is such.

        Args:
            table: Of the factors.
        """
        free = sorted((p for p in self.places if p.is_free), key=lambda place: place.idle)
        for place in free[1:]:
            place.idle += 1
            if place.idle > _PATIENCE:
                self.places.remove(place)
        if not free:
            free = [Place(self, factors, device)]
            self.places.append(free[0])
        return free[0].take(table)

    def trim(self) -> None:
        """Gives up memory that no adapter has."""
        self.places[:] = [place for place in self.places if not place.is_free]


class _Lease:
    """Adapters in a place hold it."""


class Place:
    """Memory for one adapter of a form, with all that does not depend on its values.

    Attributes:
        idle: Adapters of the form that were taken elsewhere while this one was free.
    """

    def __init__(
        self, form: Form, factors: Mapping[str, torch.Tensor], device: torch.device | None
    ) -> None:
        self._memory = Memory(list(factors.values()), device)
        at = dict(zip(factors, self._memory.tensors, strict=True))
        self._deltas = {
            parameter: Delta(at[a], at[b], scale, transposed)
            for parameter, a, b, scale, transposed in form.deltas
        }
        self._recipes: dict[float, Mapping[str, Recipe]] = {}
        self._lease: weakref.ref[_Lease] | None = None
        self.idle = 0

    @property
    def is_free(self) -> bool:
        """Whether no adapter in it is left."""
        return self._lease is None or self._lease() is None

    def take(self, table: _regraft.Table) -> Adapter:
        """The adapter of these values."""
        self.idle = 0
        lease = _Lease()
        self._lease = weakref.ref(lease)
        self._memory.fill(table)
        return Adapter(self._deltas, lease=lease, known_recipes=self._recipes)
