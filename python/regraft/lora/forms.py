"""Adapters of state dicts, whose names are looked at once for all adapters of one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from regraft import _regraft
from regraft._handover import ordinal_of
from regraft.lora.adapter import Adapter
from regraft.lora.config import LoraConfig
from regraft.lora.form import Form
from regraft.lora.memory import owned_adapter
from regraft.lora.names import understand
from regraft.lora.read import read_adapter
from regraft.lora.state import Parameter

# Forms that a program remembers.
_MOST = 8


def take(
    known: list[Form],
    name: str,
    tensors: Mapping[str, Any],
    config: LoraConfig,
    parameters: Mapping[str, Parameter],
    prefix: str = "",
    device: torch.device | None = None,
) -> Adapter:
    """The adapter of a state dict, in memory of its own; what was seen in another of its form is
    not resolved and checked again.

    Args:
        known: The forms of adapters that the program has taken, the last one first; kept up here.
        device: Where adapters are merged, if not on the host.

    Raises:
        MismatchError, UnsupportedError, InvalidArgumentError: As ``read_adapter``.
    """
    factors, alphas = _look(tensors, prefix)
    table = _regraft.try_table(factors, ordinal_of(device)) if factors else None
    if table is not None:
        for form in known:
            known_as = (form.prefix, form.alphas, form.config)
            if known_as == (prefix, alphas, config) and form.layout.is_of(table):
                return form.adapter(factors, table, device)
    adapter = read_adapter(name, tensors, config, parameters, prefix)
    keys = {id(value): key for key, value in factors.items()}
    owners = {understand(key.removeprefix(prefix)).adapter for key in factors} - {None}
    # One tensor under two names says nothing of other adapters, nor do values that are compared,
    # nor a name among several.
    if table is None or adapter.replaced or len(keys) != len(factors) or len(owners) > 1:
        return owned_adapter(adapter, None, device)
    deltas = tuple(
        (parameter, keys[id(d.a)], keys[id(d.b)], d.scale, d.transposed)
        for parameter, d in adapter.deltas.items()
    )
    form = Form(prefix, _regraft.Layout(table), alphas, config, deltas)
    known.insert(0, form)
    del known[_MOST:]
    return form.adapter(factors, table, device)


def _look(
    tensors: Mapping[str, Any], prefix: str
) -> tuple[dict[str, Any], tuple[tuple[str, float], ...]]:
    """What A and B have to be, and the alphas; nothing where ``read_adapter`` finds fault."""
    factors: dict[str, Any] = {}
    alphas: list[tuple[str, float]] = []
    try:
        for key, value in tensors.items():
            if not key.startswith(prefix):
                continue
            if key.endswith(".alpha"):
                alphas.append((key, float(value)))
            else:
                factors[key] = value
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return {}, ()
    return factors, tuple(alphas)
