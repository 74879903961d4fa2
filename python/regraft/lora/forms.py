"""Adapters of state dicts, whose names are looked at once for all adapters of one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from regraft import _regraft
from regraft._handover import ordinal_of
from regraft.lora.adapter import Adapter, Delta
from regraft.lora.config import LoraConfig
from regraft.lora.form import Form
from regraft.lora.names import understand
from regraft.lora.read import read_adapter
from regraft.lora.state import Parameter

# Forms that a program remembers.
_MOST = 8


def read_known(
    known: list[Form],
    name: str,
    tensors: Mapping[str, Any],
    config: LoraConfig,
    parameters: Mapping[str, Parameter],
    prefix: str = "",
    device: torch.device | None = None,
) -> Adapter:
    """``read_adapter``, which does not resolve and check again what it has seen.

    Args:
        known: The forms of adapters that the program has taken, the last one first; kept up here.
        device: Whose tensors can be read where they lie, beside those of the host.

    Raises:
        MismatchError, UnsupportedError, InvalidArgumentError: As ``read_adapter``.
    """
    factors, alphas = _look(tensors, prefix)
    source = _regraft.try_source(factors, ordinal_of(device)) if factors else None
    layout = b"" if source is None else _regraft.layout(source)
    for form in known if layout else ():
        if (
            form.layout == layout
            and form.name in (None, name)
            and (form.prefix, form.alphas, form.config) == (prefix, alphas, config)
        ):
            return _adapter(form, factors)
    adapter = read_adapter(name, tensors, config, parameters, prefix)
    keys = {id(value): key for key, value in factors.items()}
    # One tensor under two names says nothing of other adapters, nor do values that are compared.
    if layout and not adapter.replaced and len(keys) == len(factors):
        owners = {understand(key.removeprefix(prefix)).adapter for key in factors} - {None}
        only = name if len(owners) > 1 else None
        deltas = tuple(
            (parameter, keys[id(d.a)], keys[id(d.b)], d.scale, d.transposed)
            for parameter, d in adapter.deltas.items()
        )
        known.insert(0, Form(only, prefix, layout, alphas, config, deltas))
        del known[_MOST:]
    return adapter


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


def _adapter(form: Form, tensors: Mapping[str, torch.Tensor]) -> Adapter:
    return Adapter(
        {
            parameter: Delta(tensors[a], tensors[b], scale, transposed)
            for parameter, a, b, scale, transposed in form.deltas
        }
    )
