"""Programs of modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from regraft._autocast import with_casts
from regraft._tracing import tracing_lock


def export(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dynamic_shapes: Any = None,
    *,
    strict: bool = False,
) -> ExportedProgram:
    """``torch.export.export`` without autograd; the casts of a ``torch.autocast`` around the call
    become part of the program, and every tensor of the call an input of its own.

    PyTorch's export takes one object in two places, or one that is also a weight, for one tensor,
    and later calls for calls with one tensor, too.
    """
    args, kwargs = _all_distinct(module, args, dict(kwargs))
    with tracing_lock(), torch.no_grad():
        exported = torch.export.export(
            module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=strict
        )
        return with_casts(exported)


def let_go_of_caches(module: torch.nn.Module) -> None:
    """Makes a module in evaluation mode forget what it computed from its weights in earlier calls.

    Such a tensor (a table of biases, looked up once) is a constant of the exported program, which
    no refit would follow. Modules drop theirs in ``eval()``.
    """
    if not any(part.training or "eval" in vars(part) for part in module.modules()):
        module.eval()


def is_training(module: torch.nn.Module) -> bool:
    """Whether a module is in training mode; those that torch.export makes only say so."""
    return module.training and "eval" not in vars(module)  # They refuse to be asked.


def _all_distinct(module: torch.nn.Module, *call: Any) -> Any:
    """The call, in which no tensor is an object twice or a weight; the same memory."""
    seen = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}

    def own(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) in seen:
            return tensor.detach()
        seen.add(id(tensor))
        return tensor

    return pytree.tree_map_only(torch.Tensor, own, call)
