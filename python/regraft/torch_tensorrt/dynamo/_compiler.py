"""Ahead of time: from an ExportedProgram to a module of engines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch.export import ExportedProgram

from regraft._compile import compile_module
from regraft.errors import UnsupportedError
from regraft.module.module import Module
from regraft.settings import make_settings
from regraft.torch_tensorrt import logging
from regraft.torch_tensorrt._inputs import Inputs, make_inputs, optimum_of
from regraft.torch_tensorrt._options import settings_of, with_options


@with_options
def compile(
    exported_program: ExportedProgram,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Compiles a program into a graph module whose weights can be replaced.

    Args:
        exported_program: The program; its own sizes and ranges count.
        inputs, arg_inputs: Positional inputs: tensors, or ``Input`` for their shapes. They are
            checked against the program, and give the sizes to tune for.
        kwarg_inputs: Inputs by keyword.
        **options: See ``docs/torch_tensorrt.md``.

    Returns:
        A ``regraft.Module``, which is a ``torch.fx.GraphModule``: of one engine, or of several and
        of parts that run in PyTorch. With ``dryrun``, a text.

    Raises:
        TypeError: Not an ExportedProgram, or unknown options; names the nearest known one.
        InvalidArgumentError: Options that do not fit.
        MismatchError: The program does not take such inputs.
        UnsupportedError: With ``require_full_compilation``: lists what has no kernel.
    """
    given = make_inputs(inputs, arg_inputs, kwarg_inputs)
    return compile_program(exported_program, given, options)


def compile_program(
    program: ExportedProgram, inputs: Inputs, options: Mapping[str, Any]
) -> Module | str:
    """``compile`` of inputs that are sorted out."""
    if not isinstance(program, ExportedProgram):
        raise TypeError(
            f"[torch_tensorrt] want an ExportedProgram, have {type(program).__name__}; "
            "torch_tensorrt.compile takes modules"
        )
    settings = settings_of({"device": inputs.device(), **_said(options)})
    if inputs.is_given:
        settings["optimum"] = optimum_of(program, inputs) or None
    with logging.debug() if options.get("debug") else contextlib.nullcontext():
        compiled = compile_module(program, make_settings(settings))
    path = options.get("dryrun")
    if isinstance(path, str | os.PathLike):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{compiled}\n")
    return compiled


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k != "device" or v is not None}


@with_options
def convert_exported_program_to_serialized_trt_engine(
    exported_program: ExportedProgram,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """The bytes of an engine file of the whole program, for ``regraft.Engine.deserialize``.

    Arguments as for ``compile``.

    Raises:
        UnsupportedError: One engine cannot take the whole program; lists what has no kernel.
    """
    given = make_inputs(inputs, arg_inputs, kwarg_inputs)
    options = {**options, "require_full_compilation": True}
    compiled = compile_program(exported_program, given, options)
    if isinstance(compiled, str) or compiled.whole is None:
        raise UnsupportedError("[torch_tensorrt] a dry run makes no engine; leave dryrun out")
    return compiled.whole.serialize(
        strip_weights=bool(options.get("strip_engine_weights")), immutable=compiled.is_immutable
    )
