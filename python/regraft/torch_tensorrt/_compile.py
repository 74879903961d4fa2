"""The entry points that take modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from regraft.errors import InvalidArgumentError, UnsupportedError
from regraft.torch_tensorrt._inputs import Inputs, make_inputs
from regraft.torch_tensorrt._options import settings_of, with_options
from regraft.torch_tensorrt.dynamo._compiler import (
    compile_program,
    convert_exported_program_to_serialized_trt_engine,
)
from regraft.torch_tensorrt.dynamo._tracer import trace_inputs
from regraft.torch_tensorrt.dynamo.backend import jit_settings, torch_tensorrt_backend

_GONE = ("ts", "torchscript", "fx")


@with_options
def compile(
    module: torch.nn.Module | ExportedProgram,
    ir: str = "default",
    inputs: Sequence[Any] | None = None,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Compiles a module.

    Args:
        module: In evaluation mode, or an ExportedProgram.
        ir: "dynamo" (or "default"): ahead of time. "torch_compile": by ``torch.compile``, at the
            first calls.
        inputs, arg_inputs: Positional inputs: tensors, or ``Input`` for their shapes.
        kwarg_inputs: Inputs by keyword.
        **options: See ``docs/torch_tensorrt.md``.

    Returns:
        Ahead of time, what ``dynamo.compile`` returns; otherwise a module of ``torch.compile``.

    Raises:
        InvalidArgumentError: Another ``ir``, no inputs, or options that do not fit.
        TypeError: Unknown options; names the nearest known one.
    """
    given = make_inputs(inputs, arg_inputs, kwarg_inputs)
    if ir == "torch_compile":
        return _compile_just_in_time(module, given, options)
    _want_dynamo(ir)
    settings_of(options)  # Before an export that may take long.
    return compile_program(_program(module, given), given, options)


@with_options
def convert_method_to_trt_engine(
    module: torch.nn.Module | ExportedProgram,
    method_name: str = "forward",
    inputs: Sequence[Any] | None = None,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    ir: str = "default",
    **options: Any,
) -> bytes:
    """The bytes of an engine file of a whole module, for ``regraft.Engine.deserialize``.

    Args:
        method_name: "forward".
        module, inputs, arg_inputs, kwarg_inputs, ir, **options: As for ``compile``.

    Raises:
        UnsupportedError: One engine cannot take the whole module, or another method is asked for.
    """
    if method_name != "forward":
        raise UnsupportedError(
            f"[torch_tensorrt] method_name: want 'forward', have {method_name!r}"
        )
    _want_dynamo(ir)
    settings_of(options)
    given = make_inputs(inputs, arg_inputs, kwarg_inputs)
    return convert_exported_program_to_serialized_trt_engine(
        _program(module, given), arg_inputs=given.args, kwarg_inputs=given.kwargs, **options
    )


def _want_dynamo(ir: str) -> None:
    if ir in ("default", "dynamo", "exported_program"):
        return
    gone = " (TorchScript and FX tracing are not supported)" if ir in _GONE else ""
    raise InvalidArgumentError(
        f"[torch_tensorrt] ir: want 'dynamo' or 'torch_compile', have {ir!r}{gone}"
    )


def _program(module: Any, inputs: Inputs) -> ExportedProgram:
    return module if isinstance(module, ExportedProgram) else trace_inputs(module, inputs)


def _compile_just_in_time(module: Any, inputs: Inputs, options: Mapping[str, Any]) -> Any:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"[torch_tensorrt] ir='torch_compile' wants a torch.nn.Module, have "
            f"{type(module).__name__}"
        )
    jit_settings(options)
    # Not by name, which may be that of Torch-TensorRT itself.
    compiled: Any = torch.compile(module, backend=torch_tensorrt_backend, options=dict(options))
    if inputs.is_given:
        args, kwargs = inputs.examples()
        with torch.no_grad():
            compiled(*args, **kwargs)
    return compiled
