"""Which adapters a compiled program has, and the weights underneath."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from regraft.errors import MismatchError
from regraft.lora.adapter import Adapter, Recipe
from regraft.lora.form import Form
from regraft.module.staging import raise_problems


@dataclass(frozen=True)
class Parameter:
    """What adapters need to know of a parameter."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """Immutable.

    Attributes:
        adapters: The loaded ones by name.
        scales: Of the active ones.
        base: Base values of the parameters that active adapters change, and of no others.
    """

    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    base: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def recipes(self) -> Mapping[str, Recipe]:
        """By parameter. Adapters are summed in the order of their names, whatever the history.

        Raises:
            MismatchError: Two active adapters replace one parameter; lists every such one.
        """
        return self._recipes

    def like(self, others: Iterable[State]) -> State:
        """This state, with the recipes of one of the others if it has the same active adapters."""
        for other in others:
            if self._active == other._active and "_recipes" in vars(other):
                vars(self)["_recipes"] = other._recipes
        return self

    @cached_property
    def _active(self) -> list[tuple[str, int, float]]:
        # The adapters live as long as the state does: their ids are theirs.
        return sorted((name, id(self.adapters[name]), s) for name, s in self.scales.items() if s)

    @cached_property
    def _recipes(self) -> Mapping[str, Recipe]:
        sums: dict[str, Recipe] = {}
        replacing: dict[str, str] = {}
        problems: list[str] = []
        for name in sorted(name for name, scale in self.scales.items() if scale):
            for parameter, recipe in self.adapters[name].recipes(self.scales[name]).items():
                if recipe.replacement is not None:
                    first = replacing.setdefault(parameter, name)
                    if first != name:
                        problems.append(f"{parameter}: is replaced by adapters {first} and {name}")
                others = sums.get(parameter)
                sums[parameter] = recipe if others is None else others.and_then(recipe)
        raise_problems("lora", problems, MismatchError)
        return sums


class Slot:
    """The adapters of one compiled program.

    Thread-safety: hold ``lock`` around whatever changes the program's weights.

    Attributes:
        parameters: Of the program, by every name of theirs; made when first needed.
        forms: Of the adapters it has taken, the last one first.
    """

    def __init__(self, state: State | None = None) -> None:
        self.lock = threading.RLock()
        self.parameters: dict[str, Parameter] | None = None
        self.forms: list[Form] = []
        self.state = state or State()
        self._before = self.state

    @property
    def recent(self) -> tuple[State, State]:
        """The state and the one before, whose recipes are often wanted again."""
        return self.state, self._before

    def trim(self) -> None:
        """Frees what is held for speed only."""
        with self.lock:
            for form in self.forms:
                form.trim()

    def publish(self, state: State) -> None:
        """Follows a refit."""
        self._before, self.state = self.state, state

    def roll_back(self) -> None:
        """Follows a rollback."""
        self._before, self.state = self.state, self._before
