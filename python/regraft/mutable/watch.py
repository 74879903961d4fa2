"""What a module tree is made of, and whether anything of it was written to."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import torch
from torch import nn

from regraft import _regraft
from regraft._registrations import watch_registrations
from regraft.lora.peft_layers import innermost, wrapped_by

# How far into plain objects that modules keep (configurations, lists of settings) to look.
_DEPTH = 4
# Of nn.Module itself, and never read by forward.
_UNREAD = ("_backward_", "_state_dict_", "_load_state_dict_", "_non_persistent_")
# What libraries of adapters note on the modules they change.
_NOTES = ("peft_config", "_hf_peft_config_loaded", "lora_scale", "_safe_fusing")
_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, torch.Tensor)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)

_Container: TypeAlias = dict[Any, Any] | list[Any]
_Items: TypeAlias = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies: `holder[key]`.

    Attributes:
        name: In the base of the module; of an adapter's tensor, the user's name.
        user_name: In the module.
    """

    name: str
    user_name: str
    holder: Any
    key: Any


class ModuleWatch:
    """The containers of a module tree at one moment.

    A module is the base that programs are made of, and adapters around its layers, which are
    changes of weights. Without `sees_through`, the layers of adapters belong to the base.

    Args:
        module: Watched with its submodules, their attributes, and the dicts, lists and plain
            objects in them; what opaque objects hold is not.

    Attributes:
        slots: Of the tensors of the base.
        adapter_slots: Of the adapters' tensors.
        structure: Equal for equal bases: plain values count by value and type, all else by
            identity, tensors not at all.
        is_exchanged: Whether modules of the base were exchanged, by others or by themselves, in
            a way that no adapter of PEFT explains.
    """

    def __init__(self, module: nn.Module, sees_through: bool = True) -> None:
        self.is_exchanged = False
        self._sees_through = sees_through
        self._units: list[_Unit] = []
        # By identity of the container; they are kept alive by the watch below.
        self._owners: dict[int, _Unit] = {}
        # By identity of the container: of units that hold it beside its owner.
        self._sharers: dict[int, set[int]] = {}
        # By identity; their dicts are watched, so no new module gets the id of one.
        self._modules: set[int] = set()
        self._add_module(module, "", "", sees_through)
        self._flatten()
        watch_registrations(self)

    @property
    def structure(self) -> list[Any]:
        return [self._sees_through, *(unit.parts for unit in self._units if unit.at is not None)]

    def tensors(self) -> list[torch.Tensor]:
        """The tensors now in the slots; call it when nothing but tensors was touched."""
        return [slot.holder[slot.key] for slot in self.slots]

    def adapter_tensors(self) -> list[torch.Tensor]:
        """The tensors now in the adapters' slots."""
        return [slot.holder[slot.key] for slot in self.adapter_slots]

    def slots_named(self) -> list[str]:
        """The names of the slots, in order."""
        return [slot.name for slot in self.slots]

    def is_touched(self) -> bool:
        """Whether anything but tensors was written to; cheap when nothing was. What was written
        may equal what was there: a new watch tells."""
        return self.is_exchanged or self._watch.touched()

    def has_adapters_of(self, other: ModuleWatch) -> bool:
        """Whether layers, settings and scales of adapters are the same."""
        return self._adapter_parts() == other._adapter_parts()

    def read_again(self) -> bool | None:
        """Reads again what was touched, and no more.

        Returns:
            Whether layers, settings and scales of adapters are others now; None when more than
            that is: then only a new watch tells.
        """
        touched = [self._containers[i] for i in self._watch.touched_at()]
        found = {id(self._owners[id(container)]) for container in touched}
        units = [unit for unit in self._units if id(unit) in found]
        children = {id(unit.module._modules) for unit in units}
        if self.is_exchanged or any(id(container) in children for container in touched):
            return None
        before = [dataclasses.replace(unit) for unit in units]
        self._disown(units)
        differ = self._replace_units(units, found)
        if differ is None:
            self._disown(units)
            for unit, old in zip(units, before, strict=True):
                unit.take(old)
                self._own(unit)
        else:
            self._flatten()
        return differ

    def _replace_units(self, units: list[_Unit], found: set[int]) -> bool | None:
        """Puts what units hold now in their places; a result as of `read_again`."""
        differ = False
        for unit in units:
            fresh = self._read(unit)
            is_other = fresh.parts != unit.parts
            if fresh.places() != unit.places() or (is_other and unit.at is not None):
                return None
            kept = {id(container) for container in fresh.containers}
            dropped = [c for c in unit.containers if id(c) not in kept]
            # What another unit holds too must be watched on.
            if any(self._sharers.get(id(c), set()) - found for c in dropped):
                return None
            differ |= is_other
            unit.take(fresh)
            self._own(unit)
        return differ

    def _own(self, unit: _Unit) -> None:
        self._owners.update((id(container), unit) for container in unit.containers)

    def _disown(self, units: list[_Unit]) -> None:
        for unit in units:
            for container in unit.containers:
                self._owners.pop(id(container), None)

    def _flatten(self) -> None:
        self.slots = [s for unit in self._units if unit.at is not None for s in unit.slots]
        self.adapter_slots = [s for unit in self._units if unit.at is None for s in unit.slots]
        self._containers = [c for unit in self._units for c in unit.containers]
        self._watch = _regraft.ContainerWatch([*self._containers], True)

    def _adapter_parts(self) -> list[Any]:
        return [unit.parts for unit in self._units if unit.at is None]

    def registered(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        """`parent.name = child` is about to happen."""
        if id(parent) not in self._modules:
            return
        now = parent._modules.get(name)
        is_adapters = (
            now is not None
            and child is not None
            and now is not child
            and innermost(now) is innermost(child)
        )
        self.is_exchanged |= not is_adapters

    # ---- reading ----

    def _add_module(self, module: nn.Module, user_path: str, at: str, sees_through: bool) -> None:
        wrapped = wrapped_by(module) if sees_through else None
        if wrapped is not None:
            name, inner = wrapped
            self._add_own(module, user_path, None)
            for key, child in module._modules.items():
                if child is not None and child is not inner:
                    for path, part in child.named_modules(prefix=_joined(user_path, key)):
                        self._add_own(part, path, None)
            self._add_module(inner, _joined(user_path, name), at, sees_through)
        elif self._add_own(module, user_path, at, sees_through):
            self._modules.add(id(module))
            for key, child in module._modules.items():
                if child is not None:
                    self._add_module(child, _joined(user_path, key), _joined(at, key), sees_through)

    def _add_own(
        self, module: nn.Module, user_path: str, at: str | None, sees_through: bool = False
    ) -> bool:
        """Adds what a module itself holds; `at` None means to the adapters. False when it was
        added before."""
        if id(module.__dict__) in self._owners:
            return False
        unit = _Unit(module, user_path, at, sees_through)
        unit.take(self._read(unit))
        self._units.append(unit)
        self._own(unit)
        return True

    def _read(self, unit: _Unit) -> _Unit:
        """What the module of a unit holds now, less what other units hold too."""

        def is_others(container: _Container) -> bool:
            if id(container) not in self._owners:
                return False
            self._sharers.setdefault(id(container), set()).add(id(unit))
            return True

        fresh = _Unit(unit.module, unit.user_path, unit.at, unit.sees_through)
        _Reader(fresh, is_others).read()
        return fresh


@dataclass
class _Unit:
    """What one module itself holds.

    Attributes:
        at: Its path in the base; None for adapters.
        parts: To be compared.
        slots: Of its tensors.
        containers: Its dicts and lists, and those of plain objects in them.
    """

    module: nn.Module
    user_path: str
    at: str | None
    sees_through: bool
    parts: list[Any] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    containers: list[_Container] = field(default_factory=list)

    def take(self, other: _Unit) -> None:
        """What it holds is from now on what another of the same module does."""
        self.parts, self.slots, self.containers = other.parts, other.slots, other.containers

    def places(self) -> list[Any]:
        """Of its tensors."""
        return [(slot.name, slot.key) for slot in self.slots]


class _Reader:
    """Reads what one module holds."""

    def __init__(self, unit: _Unit, is_others: Callable[[_Container], bool]) -> None:
        self._unit = unit
        self._is_others = is_others
        self._seen: set[int] = set()

    def read(self) -> None:
        unit, module = self._unit, self._unit.module
        attributes = module.__dict__
        self._seen.add(id(attributes))
        for table in ("_parameters", "_buffers"):
            self._add(attributes[table], "", _DEPTH)
        # Behind wrappers, children are told by what is under them.
        children = [
            (key, _Same(innermost(child) if unit.sees_through and child is not None else child))
            for key, child in module._modules.items()
        ]
        unit.parts.append((type(module), children))
        unit.containers += [attributes["_modules"], attributes]
        self._seen.add(id(attributes["_modules"]))
        kept = {key: value for key, value in attributes.items() if key not in _NOTES}
        unit.parts.append(_items(kept))
        for key, value in kept.items():
            if not key.startswith(_UNREAD):
                self._add_value(value, attributes, key, key, _DEPTH)

    def _add(self, container: _Container, prefix: str, depth: int) -> None:
        if id(container) in self._seen or self._is_others(container):
            return
        self._seen.add(id(container))
        self._unit.containers.append(container)
        self._unit.parts.append(_items(container))
        for key, value in _entries(container):
            self._add_value(value, container, key, f"{prefix}{key}", depth - 1)

    def _add_value(self, value: Any, holder: Any, key: Any, name: str, depth: int) -> None:
        unit = self._unit
        if isinstance(value, torch.Tensor):
            user_name = _joined(unit.user_path, name)
            own_name = user_name if unit.at is None else _joined(unit.at, name)
            unit.slots.append(Slot(own_name, user_name, holder, key))
        elif depth <= 0 or isinstance(value, (*_OPAQUE, *_PLAIN, nn.Module)):
            return
        elif isinstance(value, dict | list):
            self._add(value, name + ".", depth)
        elif isinstance(value, tuple | set | frozenset):
            fixed = tuple(value)
            for index, item in enumerate(fixed):
                self._add_value(item, fixed, index, f"{name}.{index}", depth - 1)
        elif isinstance(inner := getattr(value, "__dict__", None), dict):
            self._add(inner, name + ".", depth)


class _Same:
    """Equal to anything that `is` the value it stands for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


_TENSOR = object()


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _entries(container: _Container) -> Iterator[tuple[Any, Any]]:
    return iter(container.items() if isinstance(container, dict) else enumerate(container))


def _items(container: _Container) -> list[Any]:
    """The contents, to be compared: plain values by value and type, all else by identity."""
    return [(key, _comparable(value)) for key, value in _entries(container)]


def _comparable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _TENSOR
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, tuple | torch.Size):
        return type(value), [_comparable(item) for item in value]
    return _Same(value)
