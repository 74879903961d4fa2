"""Where a program runs when nobody says it: where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from regraft.errors import InvalidArgumentError
from regraft.settings import CompilationSettings


def placed(settings: CompilationSettings, model: object, call: object = ()) -> CompilationSettings:
    """Settings with a backend: the one that was asked for, or that of the device that was, or of
    the tensors of the model and its call. What is read from a file runs on the "cpu".

    Raises:
        InvalidArgumentError: The device is none.
    """
    if settings.backend is not None:
        return settings
    if settings.device is not None:
        return dataclasses.replace(settings, backend=_kind(settings.device))
    devices = {tensor.device for tensor in _tensors(model, call) if tensor.device.type == "cuda"}
    if not devices:
        return dataclasses.replace(settings, backend="cpu")
    # Of several, none is meant.
    device = devices.pop() if len(devices) == 1 else None
    return dataclasses.replace(settings, backend="cuda", device=device)


def _kind(device: str | torch.device) -> str:
    try:
        return str(torch.device(device).type)
    except RuntimeError as error:
        raise InvalidArgumentError(f"[pipeline] device: {device!r} is none") from error


def _tensors(model: object, call: object) -> Iterator[torch.Tensor]:
    values: list[Any] = pytree.tree_leaves(call)
    if isinstance(model, torch.nn.Module):
        values += [*model.parameters(), *model.buffers()]
    elif isinstance(model, ExportedProgram):
        inputs = (node for node in model.graph.nodes if node.op == "placeholder")
        values += [node.meta.get("val") for node in inputs]
    return (value for value in values if isinstance(value, torch.Tensor))
