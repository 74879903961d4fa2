"""What a module tree is made of, and whether anything of it was written to."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import torch

from regraft import _regraft

# How far into plain objects that modules keep (configurations, lists of settings) to look.
_DEPTH = 4
_TABLES = ("_parameters", "_buffers")
# Of nn.Module itself, and never read by forward.
_UNREAD = ("_backward_", "_state_dict_", "_load_state_dict_", "_non_persistent_")
_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, torch.Tensor)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)

_Container: TypeAlias = dict[Any, Any] | list[Any]


class Touch(enum.Enum):
    """What was written to since the watch began.

    NOTHING: Nothing but tensors, which a tracker looks after.
    ALL_WEIGHTS: Modules were exchanged and put back, as adapters do when they are merged and
        unloaded: the tree is the same, but what happened to its weights is not known.
    STRUCTURE: Modules, attributes, or which tensors there are.
    """

    NOTHING = enum.auto()
    ALL_WEIGHTS = enum.auto()
    STRUCTURE = enum.auto()


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies: `holder[key]`."""

    name: str
    holder: Any
    key: Any


class ModuleWatch:
    """The containers of a module tree at one moment.

    Args:
        module: Watched with its submodules, their attributes, and the dicts, lists and plain
            objects in them; what opaque objects hold is not.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.slots: list[Slot] = []
        self._seen: set[int] = set()
        # (container, its items) of what holds weights and attributes, and of everything else.
        self._tables: list[tuple[_Container, list[Any]]] = []
        self._others: list[tuple[_Container, list[Any]]] = []
        for name, part in module.named_modules():
            self._add_module(name + "." if name else "", part)
        self._begin()

    def tensors(self) -> list[torch.Tensor]:
        """The tensors now in the slots; call it when nothing but tensors was touched."""
        return [slot.holder[slot.key] for slot in self.slots]

    def slots_named(self) -> list[str]:
        """The names of the slots, in order."""
        return [slot.name for slot in self.slots]

    def touched(self) -> Touch:
        """What was written to; cheap when nothing was."""
        if not (self._table_watch.touched() or self._other_watch.touched()):
            return Touch.NOTHING
        if any(_items(container) != items for container, items in self._tables + self._others):
            return Touch.STRUCTURE
        touch = Touch.ALL_WEIGHTS if self._other_watch.touched() else Touch.NOTHING
        self._begin()
        return touch

    def _begin(self) -> None:
        self._table_watch = _regraft.ContainerWatch([c for c, _ in self._tables], True)
        self._other_watch = _regraft.ContainerWatch([c for c, _ in self._others], True)

    def _add_module(self, prefix: str, module: torch.nn.Module) -> None:
        attributes = module.__dict__
        self._seen.add(id(attributes))
        for table in _TABLES:
            self._add(attributes[table], prefix, self._tables, _DEPTH)
        self._add(attributes["_modules"], prefix, self._others, 0)
        self._tables.append((attributes, _items(attributes)))
        for key, value in attributes.items():
            if not key.startswith(_UNREAD):
                self._add_value(value, attributes, key, f"{prefix}{key}", _DEPTH)

    def _add(self, container: _Container, prefix: str, to: list[Any], depth: int) -> None:
        if id(container) in self._seen:
            return
        self._seen.add(id(container))
        to.append((container, _items(container)))
        for key, value in _entries(container):
            self._add_value(value, container, key, f"{prefix}{key}", depth - 1)

    def _add_value(self, value: Any, holder: Any, key: Any, name: str, depth: int) -> None:
        if isinstance(value, torch.Tensor):
            self.slots.append(Slot(name, holder, key))
        elif depth <= 0 or isinstance(value, (*_OPAQUE, *_PLAIN, torch.nn.Module)):
            return
        elif isinstance(value, dict | list):
            self._add(value, name + ".", self._others, depth)
        elif isinstance(value, tuple | set | frozenset):
            fixed = tuple(value)
            for index, item in enumerate(fixed):
                self._add_value(item, fixed, index, f"{name}.{index}", depth - 1)
        elif isinstance(inner := getattr(value, "__dict__", None), dict):
            self._add(inner, name + ".", self._others, depth)


class _Same:
    """Equal to anything that `is` the value it stands for."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


_TENSOR = object()


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
