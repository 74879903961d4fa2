"""From a module and its inputs to an ExportedProgram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes
from torch.utils import _pytree as pytree

from regraft._exporting import export
from regraft.errors import InvalidArgumentError
from regraft.torch_tensorrt._inputs import Inputs, make_inputs


def trace(
    mod: torch.nn.Module,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    strict: bool = False,
) -> ExportedProgram:
    """Exports a module.

    Args:
        mod: In evaluation mode.
        inputs, arg_inputs: Positional inputs: tensors, or ``Input`` for their shapes.
        kwarg_inputs: Inputs by keyword.
        dynamic_shapes: As for ``torch.export.export``; by default those of the ``Input`` ranges.
        strict: As for ``torch.export.export``.

    Raises:
        InvalidArgumentError: The module is in training mode, or does not take a whole range.
    """
    return trace_inputs(mod, make_inputs(inputs, arg_inputs, kwarg_inputs), dynamic_shapes, strict)


def trace_inputs(
    module: torch.nn.Module, inputs: Inputs, dynamic_shapes: Any = None, strict: bool = False
) -> ExportedProgram:
    """``trace`` of inputs that are sorted out."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"[torch_tensorrt] want a torch.nn.Module, have {type(module).__name__}")
    if module.training and not isinstance(module, torch.fx.GraphModule):
        raise InvalidArgumentError(
            "[torch_tensorrt] the module is in training mode; call module.eval() before compiling"
        )
    args, kwargs = inputs.examples()

    shapes = inputs.dynamic_shapes() if dynamic_shapes is None else dynamic_shapes
    try:
        return export(module, args, kwargs, shapes, strict=strict)
    except torch._dynamo.exc.UserError as error:
        if dynamic_shapes is not None or "Suggested fixes:" not in str(error):
            raise
        return export(module, args, kwargs, _related(shapes, str(error)), strict=strict)


def _related(shapes: Any, message: str) -> Any:
    # Every size was a symbol of its own, and the module wants some of them to be related.
    head, _, tail = message.partition("Suggested fixes:")
    fixes = f"{head}Suggested fixes:{tail.lstrip().partition(chr(10) * 2)[0]}"
    refined = refine_dynamic_shapes_from_suggested_fixes(fixes, shapes)
    asked = {dim.__name__: dim for dim in pytree.tree_leaves(shapes) if isinstance(dim, Dim)}
    for dim in pytree.tree_leaves(refined):
        if dim is None:
            continue
        want = asked.get(getattr(dim, "__name__", ""))
        is_same = want is not None and (dim.min, dim.max) == (want.min, want.max)
        if isinstance(dim, int) or not (is_same or hasattr(dim, "root")):
            raise InvalidArgumentError(
                f"[torch_tensorrt] the module does not take these ranges:\n{message}"
            )
    return refined
