"""A module with PEFT layers, seen without them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import nn

from regraft.errors import UnsupportedError
from regraft.lora import peft_layers
from regraft.lora.adapter import Adapter, Delta
from regraft.module.staging import raise_problems

# How far into the containers and plain objects of modules tensors are looked for.
_DEPTH = 4
_OPAQUE = (nn.Module, type, str, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


@dataclass(frozen=True)
class AdapterView:
    """The adapters of a module with PEFT layers, by the names that the module has without them.

    Attributes:
        names: Name in the user's module -> name in the base, of all parameters and buffers of the
            base (``.base_layer.`` and the like are gone).
        adapters: The active ones, by name of the parameter in the base; their tensors are the
            user's own, their scales those of the layers now. Merged layers have none: their base
            weights hold them.
    """

    names: Mapping[str, str]
    adapters: Mapping[str, Adapter]

    def scaled_adapters(self, factor: float) -> Mapping[str, Adapter]:
        """The adapters as after ``scale_layer(factor)`` of PEFT's layers."""
        if factor == 1:
            return self.adapters
        return {
            name: Adapter(
                {k: Delta(d.a, d.b, d.scale * factor, d.transposed) for k, d in a.deltas.items()},
                a.replaced,
            )
            for name, a in self.adapters.items()
        }


@dataclass(frozen=True)
class BaseView(AdapterView):
    """A module without adapters, and the adapters.

    Attributes:
        module: A copy of the module's structure that has the base layers where the user's has PEFT
            layers. Parameters and buffers are the user's own, not copies.
    """

    module: nn.Module

    def tensors(self) -> dict[str, torch.Tensor]:
        """The base weights, as ``refit`` takes them."""
        tensors = dict(self.module.named_parameters(remove_duplicate=False))
        tensors.update(self.module.named_buffers(remove_duplicate=False))
        return tensors

    def scaled(self, factor: float) -> BaseView:
        """The view of a module whose PEFT layers are scaled by a factor."""
        return replace(self, adapters=self.scaled_adapters(factor))


def has_adapters(module: nn.Module) -> bool:
    """Whether PEFT wrapped the module or layers of it. PEFT is not imported for that."""
    peft = peft_layers.imported()
    return peft is not None and any(peft.is_wrapper(child) for child in module.modules())


def base_view(module: nn.Module) -> BaseView:
    """The module as it is without its adapters; works for modules that have none, too.

    The module itself is neither changed nor copied in its weights. Later changes of its parameters
    show in the view, later changes of its structure, active adapters and scales do not.

    Raises:
        UnsupportedError: Adapters that are no plain LoRA (DoRA, other methods, quantised layers,
            ...), or that change tied weights on one side; lists every such layer.
    """
    view = adapter_view(module)
    peft = peft_layers.imported()
    base = module if peft is None else _without_wrappers(peft, module)
    return BaseView(view.names, view.adapters, base)


def adapter_view(module: nn.Module) -> AdapterView:
    """The adapters alone: what ``base_view`` says of them, without making a module.

    Raises:
        UnsupportedError: As ``base_view``.
    """
    layers = list(_walk(module, "", ""))
    peft = peft_layers.imported()
    adapters: dict[str, Adapter] = {}
    if peft is not None:
        refused = [f"{at}: {why}" for _, at, child in layers if (why := peft.refusal(child))]
        raise_problems("lora", refused, UnsupportedError)
        for _, at, child in layers:
            for name, deltas, replaced in peft.changes(child, at):
                old = adapters.get(name, Adapter())
                adapters[name] = Adapter({**old.deltas, **deltas}, {**old.replaced, **replaced})
    names: dict[str, str] = {}
    for user_path, at, child in layers:
        if peft is None or not peft.is_wrapper(child):
            names.update(_names_here(child, user_path, at))
    raise_problems("lora", _torn_ties(layers, adapters), UnsupportedError)
    return AdapterView(names, adapters)


def _walk(module: nn.Module, user_path: str, at: str) -> Iterator[tuple[str, str, nn.Module]]:
    """Every module that the base has and the wrappers around them, with paths in both."""
    yield user_path, at, module
    if (wrapped := peft_layers.wrapped_by(module)) is not None:
        yield from _walk(wrapped[1], _joined(user_path, wrapped[0]), at)
        return
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, _joined(user_path, name), _joined(at, name))


def _torn_ties(
    layers: Iterable[tuple[str, str, nn.Module]], adapters: Mapping[str, Adapter]
) -> list[str]:
    """Tied parameters that adapters change under one of their names only."""
    if not adapters:
        return []
    ties: dict[int, list[str]] = {}
    for _, at, child in layers:
        for name, parameter in child._parameters.items():
            if parameter is not None:
                ties.setdefault(id(parameter), []).append(_joined(at, name))
    problems = []
    for names in (names for names in ties.values() if len(names) > 1):
        for adapter in adapters.values():
            values = {r.value.data_ptr() for n in names if (r := adapter.replaced.get(n))}
            given = [n for n in names if n in adapter.deltas or n in adapter.replaced]
            is_whole = len(given) == len(names) and len(values) == 1
            if given and (any(n in adapter.deltas for n in given) or not is_whole):
                problems.append(f"{given[0]}: is one tensor with other layers ({', '.join(names)})")
    return problems


def _without_wrappers(peft: peft_layers.Peft, module: nn.Module) -> nn.Module:
    # deepcopy takes what the memo knows for done: tensors are shared, wrappers are their inside.
    # It also follows references between modules that are no submodules.
    memo: dict[int, Any] = {}
    wrappers: list[nn.Module] = []
    for child in module.modules():
        memo.update((id(tensor), tensor) for tensor in _tensors_in(vars(child), _DEPTH))
        if peft.is_wrapper(child):
            wrappers.append(child)
    for wrapper in reversed(wrappers):  # Inner ones first.
        memo[id(wrapper)] = copy.deepcopy(peft.inner(wrapper)[1], memo)
    return cast(nn.Module, copy.deepcopy(module, memo))


def _tensors_in(value: Any, depth: int) -> Iterator[torch.Tensor]:
    """The tensors in dicts, lists, tuples and plain objects; not those of other modules."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth > 0 and not isinstance(value, _OPAQUE):
        if isinstance(value, dict):
            inner: Iterable[Any] = value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            inner = value
        else:
            inner = [vars(value)] if isinstance(getattr(value, "__dict__", None), dict) else []
            depth += 1
        for item in inner:
            yield from _tensors_in(item, depth - 1)


def _names_here(module: nn.Module, user_path: str, at: str) -> dict[str, str]:
    own = [*module._parameters.items(), *module._buffers.items()]
    return {_joined(user_path, name): _joined(at, name) for name, value in own if value is not None}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
