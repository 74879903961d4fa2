"""What a module tree is made of, and whether anything of it was written to."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
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
        self.slots: list[Slot] = []
        self.adapter_slots: list[Slot] = []
        self.structure: list[Any] = [sees_through]
        self.is_exchanged = False
        self._adapters: list[Any] = []
        self._containers: list[_Container] = []
        self._seen: set[int] = set()
        # By identity; their dicts are in `_containers`, so no new module gets the id of one.
        self._modules: set[int] = set()
        self._add_module(module, "", "", sees_through)
        self._watch = _regraft.ContainerWatch([*self._containers], True)
        watch_registrations(self)

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
        return self._adapters == other._adapters

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
        attributes = module.__dict__
        if id(attributes) in self._seen:
            return False
        self._seen.add(id(attributes))
        reader = _Reader(self, user_path, at)
        for table in ("_parameters", "_buffers"):
            reader.add(attributes[table], "", _DEPTH)
        # Behind wrappers, children are told by what is under them.
        children = [
            (key, _Same(innermost(child) if sees_through and child is not None else child))
            for key, child in module._modules.items()
        ]
        reader.parts.append((type(module), children))
        self._containers += [attributes["_modules"], attributes]
        self._seen.add(id(attributes["_modules"]))
        kept = {key: value for key, value in attributes.items() if key not in _NOTES}
        reader.parts.append(_items(kept))
        for key, value in kept.items():
            if not key.startswith(_UNREAD):
                reader.add_value(value, attributes, key, key, _DEPTH)
        return True


@dataclass
class _Reader:
    """Reads what one module holds into a watch."""

    watch: ModuleWatch
    user_path: str
    at: str | None

    @property
    def parts(self) -> list[Any]:
        return self.watch._adapters if self.at is None else self.watch.structure

    def add(self, container: _Container, prefix: str, depth: int) -> None:
        watch = self.watch
        if id(container) in watch._seen:
            return
        watch._seen.add(id(container))
        watch._containers.append(container)
        self.parts.append(_items(container))
        for key, value in _entries(container):
            self.add_value(value, container, key, f"{prefix}{key}", depth - 1)

    def add_value(self, value: Any, holder: Any, key: Any, name: str, depth: int) -> None:
        if isinstance(value, torch.Tensor):
            user_name = _joined(self.user_path, name)
            slots = self.watch.adapter_slots if self.at is None else self.watch.slots
            own_name = user_name if self.at is None else _joined(self.at, name)
            slots.append(Slot(own_name, user_name, holder, key))
        elif depth <= 0 or isinstance(value, (*_OPAQUE, *_PLAIN, nn.Module)):
            return
        elif isinstance(value, dict | list):
            self.add(value, name + ".", depth)
        elif isinstance(value, tuple | set | frozenset):
            fixed = tuple(value)
            for index, item in enumerate(fixed):
                self.add_value(item, fixed, index, f"{name}.{index}", depth - 1)
        elif isinstance(inner := getattr(value, "__dict__", None), dict):
            self.add(inner, name + ".", depth)


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
