"""A module with PEFT layers, seen without them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from regraft.errors import UnsupportedError
from regraft.lora import peft_layers
from regraft.lora.adapter import Adapter
from regraft.module.staging import raise_problems


@dataclass(frozen=True)
class BaseView:
    """A module without adapters, and the adapters.

    Attributes:
        module: A copy of the module's structure that has the base layers where the user's has PEFT
            layers. Parameters and buffers are the user's own, not copies.
        names: Name in the user's module -> name in ``module``, of all of ``module``'s parameters
            and buffers (``.base_layer.`` and the like are gone).
        adapters: The active ones, by name of the parameter in ``module``; their tensors are the
            user's own, their scales those of the layers now. Merged layers have none: their base
            weights hold them.
    """

    module: nn.Module
    names: Mapping[str, str]
    adapters: Mapping[str, Adapter]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The base weights, as ``refit`` takes them."""
        tensors = dict(self.module.named_parameters(remove_duplicate=False))
        tensors.update(self.module.named_buffers(remove_duplicate=False))
        return tensors


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
    peft = peft_layers.imported()
    if peft is None:
        return BaseView(module, _own_names(module), {})
    layers = list(_walk(peft, module, "", ""))
    raise_problems(
        "lora",
        [f"{at}: {why}" for _, at, child in layers if (why := peft.refusal(child))],
        UnsupportedError,
    )
    adapters: dict[str, Adapter] = {}
    for _, at, child in layers:
        for name, deltas, replaced in peft.changes(child, at):
            old = adapters.get(name, Adapter())
            adapters[name] = Adapter({**old.deltas, **deltas}, {**old.replaced, **replaced})
    names: dict[str, str] = {}
    for user_path, at, child in layers:
        if not peft.is_wrapper(child):
            names.update(_names_here(child, user_path, at))
    base = _without_wrappers(peft, module)
    raise_problems("lora", _torn_ties(base, adapters), UnsupportedError)
    return BaseView(base, names, adapters)


def _torn_ties(base: nn.Module, adapters: Mapping[str, Adapter]) -> list[str]:
    """Tied parameters that adapters change under one of their names only."""
    ties: dict[int, list[str]] = {}
    for name, parameter in base.named_parameters(remove_duplicate=False):
        ties.setdefault(id(parameter), []).append(name)
    problems = []
    for names in (names for names in ties.values() if len(names) > 1):
        for adapter in adapters.values():
            values = {r.value.data_ptr() for n in names if (r := adapter.replaced.get(n))}
            given = [n for n in names if n in adapter.deltas or n in adapter.replaced]
            is_whole = len(given) == len(names) and len(values) == 1
            if given and (any(n in adapter.deltas for n in given) or not is_whole):
                problems.append(f"{given[0]}: is one tensor with other layers ({', '.join(names)})")
    return problems


def _walk(
    peft: peft_layers.Peft, module: nn.Module, user_path: str, at: str
) -> Iterator[tuple[str, str, nn.Module]]:
    """Every module that the view keeps or sees through, with its paths in both."""
    yield user_path, at, module
    if peft.is_wrapper(module):
        inner_name, inner = peft.inner(module)
        yield from _walk(peft, inner, _joined(user_path, inner_name), at)
        return
    for name, child in module.named_children():
        yield from _walk(peft, child, _joined(user_path, name), _joined(at, name))


def _without_wrappers(peft: peft_layers.Peft, module: nn.Module) -> nn.Module:
    # deepcopy takes what the memo knows for done: tensors are shared, wrappers are their inside.
    # It also follows references between modules that are no submodules.
    memo: dict[int, Any] = {}
    wrappers: list[nn.Module] = []
    for child in module.modules():
        for value in [*child._parameters.values(), *child._buffers.values(), *vars(child).values()]:
            if isinstance(value, torch.Tensor):
                memo[id(value)] = value
        if peft.is_wrapper(child):
            wrappers.append(child)
    for wrapper in reversed(wrappers):  # Inner ones first.
        memo[id(wrapper)] = copy.deepcopy(peft.inner(wrapper)[1], memo)
    return cast(nn.Module, copy.deepcopy(module, memo))


def _own_names(module: nn.Module) -> dict[str, str]:
    own: dict[str, str] = {}
    for path, child in module.named_modules(remove_duplicate=False):
        own.update(_names_here(child, path, path))
    return own


def _names_here(module: nn.Module, user_path: str, at: str) -> dict[str, str]:
    own = [*module._parameters.items(), *module._buffers.items()]
    return {_joined(user_path, name): _joined(at, name) for name, value in own if value is not None}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
