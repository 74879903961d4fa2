"""From one set of adapters and base weights to another, as the tensors of one refit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from regraft import _regraft
from regraft._handover import dtype_name, plain
from regraft._weights import Weights, is_path, tensors_from
from regraft.errors import Error
from regraft.lora.adapter import Adapter, Merge, Recipe, differ
from regraft.lora.memory import owned
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
    def parameter_infos(self) -> Any: ...
    @property
    def weights_device(self) -> torch.device | None:
        """Where adapters are merged; None: on the host."""

    def base_values(self, names: Sequence[str]) -> list[torch.Tensor]:
        """Values in use that later refits leave as they are."""

    def refit_merged(self, merges: Mapping[str, Merge], in_place: bool) -> Any:
        """A partial refit with these very values."""


def parameters_of(target: Target) -> dict[str, Parameter]:
    """By every name of theirs."""
    slot = target.lora_slot
    if slot.parameters is None:
        slot.parameters = _parameters_of(target)
    return slot.parameters


def _parameters_of(target: Target) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for info in target.parameter_infos():
        spec = info.spec
        parameter = Parameter(
            spec.name, spec.dtype, tuple(int(d) for d in spec.dims), tuple(info.aliases)
        )
        found.update(dict.fromkeys([spec.name, *info.aliases], parameter))
    return found


_UNCHANGED = Recipe()


@dataclass(frozen=True)
class Transition:
    """Attributes:
    state: After the refit.
    merges: What to refit, by name.
    changed: Canonical names of parameters whose recipe changed.
    adapter_bytes, base_bytes: Read to compute their values.
    """

    state: State
    merges: dict[str, Merge]
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
    base: dict[str, torch.Tensor] = {}
    state = State(adapters, scales, base).like(target.lora_slot.recent)
    old, new = before.recipes(), state.recipes()
    changed = [name for name in dict.fromkeys([*old, *new]) if differ(old.get(name), new.get(name))]
    if target.generation == 0:  # Stripped: the first weights will be merged.
        return Transition(state, {}, [], 0, 0)
    wanted = [name for name in changed if name not in before.base]
    values = {**before.base, **dict(zip(wanted, target.base_values(wanted), strict=True))}
    base.update((name, values[name]) for name in new)
    merges: dict[str, Merge] = {}
    adapter_bytes = base_bytes = 0
    for name in changed:
        recipe = new.get(name, _UNCHANGED)
        merges[name] = Merge(recipe.base(values[name]), recipe)
        adapter_bytes += recipe.nbytes
        base_bytes += 0 if recipe.replacement is not None else values[name].nbytes
    return Transition(state, merges, changed, adapter_bytes, base_bytes)


def refit_base(
    target: Target,
    weights: Weights,
    cast: bool,
    dry_run: bool,
    refit: Callable[[Weights, Mapping[str, Merge]], Report],
) -> Report:
    """A refit of base weights: where adapters are active, they are merged into the new ones."""
    slot = target.lora_slot
    with slot.lock:
        recipes = slot.state.recipes()
        if not recipes:
            report = refit(weights, {})
            state = slot.state
        else:
            tensors, merges, base = _rebased(target, recipes, weights, cast)
            report = refit(tensors, merges)
            state = State(slot.state.adapters, slot.state.scales, {**slot.state.base, **base})
        if not dry_run:
            slot.publish(state)
        return report


def _rebased(
    target: Target, recipes: Mapping[str, Recipe], weights: Weights, cast: bool
) -> tuple[dict[str, torch.Tensor], dict[str, Merge], dict[str, torch.Tensor]]:
    """New weights without adapters, those to merge adapters into, and the bases of those."""
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
    found: dict[str, torch.Tensor] = {}
    for canonical, given in names.items():
        value = _declared(source, given, parameters[canonical], cast)
        if value is not None:  # Else the refit says what is wrong with it.
            found[canonical] = value
    base = dict(zip(found, owned(list(found.values()), target.weights_device), strict=True))
    merges: dict[str, Merge] = {}
    for canonical, value in base.items():
        recipe = recipes[canonical]
        merges.update(dict.fromkeys(names[canonical], Merge(recipe.base(value), recipe)))
    return {k: v for k, v in tensors.items() if k not in merges}, merges, base


def _declared(
    source: Source, names: list[str], parameter: Parameter, cast: bool
) -> torch.Tensor | None:
    try:
        specs = [source.spec(name) for name in names]
    except (Error, TypeError):
        return None
    first = source.resident(names[0])
    if any(dims != parameter.dims for _, dims in specs) or any(
        not same_bits(first, source.resident(name)) for name in names[1:]
    ):
        return None
    have = dtype_name(first.dtype)
    if have == parameter.dtype:
        return first
    if not cast or not can_cast(have, parameter.dtype):
        return None
    first = plain(first)
    converted: Any = _regraft.converted(row_of(names[0], first), parameter.dtype)
    out: torch.Tensor = converted
    return out
