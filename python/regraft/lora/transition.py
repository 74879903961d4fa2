"""From one set of adapters and base weights to another, as the tensors of one refit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from regraft import _regraft
from regraft._handover import dtype_name
from regraft._weights import Weights, is_path, tensors_from
from regraft.errors import Error
from regraft.lora.adapter import Adapter, Recipe, own
from regraft.lora.state import Parameter, Slot, State
from regraft.module.source import Source, open_weights, row_of
from regraft.module.staging import can_cast, same_bits

Report = TypeVar("Report")


class Target(Protocol):
    """A compiled program: an ``Engine`` or a ``Module``."""

    @property
    def lora_slot(self) -> Slot: ...
    @property
    def generation(self) -> int: ...
    @property
    def is_immutable(self) -> Any: ...
    def parameters(self) -> Any: ...
    def parameter(self, name: str) -> torch.Tensor: ...
    def refit_merged(self, tensors: Mapping[str, torch.Tensor], in_place: bool) -> Any:
        """A partial refit with these very values."""


def parameters_of(target: Target) -> dict[str, Parameter]:
    """By every name of theirs."""
    slot = target.lora_slot
    if slot.parameters is None:
        slot.parameters = _parameters_of(target)
    return slot.parameters


def _parameters_of(target: Target) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for info in target.parameters():
        spec = info.spec
        parameter = Parameter(
            spec.name, spec.dtype, tuple(int(d) for d in spec.dims), tuple(info.aliases)
        )
        found.update(dict.fromkeys([spec.name, *info.aliases], parameter))
    return found


@dataclass(frozen=True)
class Transition:
    """Attributes:
    state: After the refit.
    tensors: What to refit, by name.
    changed: Canonical names of parameters whose recipe changed.
    adapter_bytes, base_bytes: Read to compute their values.
    """

    state: State
    tensors: dict[str, torch.Tensor]
    changed: list[str]
    adapter_bytes: int
    base_bytes: int


def plan(
    target: Target, adapters: Mapping[str, Adapter], scales: Mapping[str, float]
) -> Transition:
    """The way to other adapters: touches the parameters whose recipe differs, and no others.

    Raises:
        StateError: A base value is not at hand.
        MismatchError: Two active adapters replace one parameter.
    """
    before = target.lora_slot.state
    old, new = before.recipes(), State(adapters, scales).recipes()
    changed = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    if target.generation == 0:  # Stripped: the first weights will be merged.
        return Transition(State(adapters, scales, {}), {}, [], 0, 0)
    base = {name: before.base[name] for name in new if name in before.base}
    tensors: dict[str, torch.Tensor] = {}
    adapter_bytes = base_bytes = 0
    for name in changed:
        value = before.base[name] if name in before.base else target.parameter(name)
        recipe = new.get(name, Recipe())
        if name in new:
            base[name] = value
        tensors[name] = recipe.value(value)
        adapter_bytes += recipe.nbytes
        base_bytes += 0 if recipe.replacement is not None else value.nbytes
    return Transition(State(adapters, scales, base), tensors, changed, adapter_bytes, base_bytes)


def refit_base(
    target: Target,
    weights: Weights,
    cast: bool,
    dry_run: bool,
    refit: Callable[[Weights], Report],
) -> Report:
    """A refit of base weights: where adapters are active, they are merged into the new ones."""
    slot = target.lora_slot
    with slot.lock:
        recipes = slot.state.recipes()
        if not recipes:
            report = refit(weights)
            state = slot.state
        else:
            tensors, base = _rebased(target, recipes, weights, cast)
            report = refit(tensors)
            state = State(slot.state.adapters, slot.state.scales, {**slot.state.base, **base})
        if not dry_run:
            slot.publish(state)
        return report


def _rebased(
    target: Target, recipes: Mapping[str, Recipe], weights: Weights, cast: bool
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights with adapters merged into them, and the bases of those."""
    parameters = parameters_of(target)
    source = open_weights(weights)
    tensors: dict[str, Any] = (
        {name: source.tensor(name) for name in source.names()}
        if is_path(weights)
        else dict(tensors_from(weights))
    )
    names: dict[str, list[str]] = {}
    for name in tensors:
        if name in parameters and parameters[name].name in recipes:
            names.setdefault(parameters[name].name, []).append(name)
    base: dict[str, torch.Tensor] = {}
    for canonical, given in names.items():
        value = _declared(source, given, parameters[canonical], cast)
        if value is None:  # The refit says what is wrong with it.
            continue
        base[canonical] = own(value)
        tensors.update(dict.fromkeys(given, recipes[canonical].value(base[canonical])))
    return tensors, base


def _declared(
    source: Source, names: list[str], parameter: Parameter, cast: bool
) -> torch.Tensor | None:
    try:
        specs = [source.spec(name) for name in names]
    except (Error, TypeError):
        return None
    first = source.tensor(names[0])
    if any(dims != parameter.dims for _, dims in specs) or any(
        not same_bits(first, source.tensor(name)) for name in names[1:]
    ):
        return None
    have = dtype_name(first.dtype)
    if have == parameter.dtype:
        return first
    if not cast or not can_cast(have, parameter.dtype):
        return None
    converted: Any = _regraft.converted(row_of(names[0], first), parameter.dtype)
    out: torch.Tensor = converted
    return out
