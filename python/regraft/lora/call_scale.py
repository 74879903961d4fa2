"""The scale of adapters that a call of a diffusers model brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

# Under one of these names, models of diffusers take {"scale": factor} for all of their LoRA layers.
_NAMES = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")
_KEY = "scale"


def call_scale(module: nn.Module, kwargs: Mapping[str, Any]) -> float:
    """What the call multiplies the scales of all adapters by; 1 where it says nothing."""
    name = _name(module, kwargs)
    return 1.0 if name is None else float(kwargs[name][_KEY])


def without_call_scale(module: nn.Module, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same call with the scale left out; without adapters, it has no other meaning."""
    name = _name(module, kwargs)
    if name is None:
        return kwargs
    rest = {key: value for key, value in kwargs[name].items() if key != _KEY}
    return {**kwargs, name: rest or None}


def _name(module: nn.Module, kwargs: Mapping[str, Any]) -> str | None:
    for name in _NAMES:
        value = kwargs.get(name)
        if isinstance(value, Mapping) and isinstance(value.get(_KEY), int | float):
            is_theirs = any(c.__module__.startswith("diffusers.") for c in type(module).__mro__)
            return name if is_theirs else None
    return None
