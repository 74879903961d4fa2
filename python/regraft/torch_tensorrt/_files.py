"""Compiled programs as files of torch.export."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

import regraft
from regraft import _regraft
from regraft._files import replacing
from regraft._tracing import tracing_lock
from regraft._want import have, path_text, want_mapping, want_type
from regraft.engine import Engine
from regraft.errors import InvalidArgumentError, UnsupportedError
from regraft.exported import held_tensor, to_exported_program
from regraft.module.module import Module
from regraft.module.saving import is_module_file
from regraft.mutable import MutableModule
from regraft.torch_tensorrt._inputs import make_inputs
from regraft.torch_tensorrt.dynamo._tracer import trace_inputs

_OTHERS = ("torchscript", "aot_inductor", "executorch")


def save(
    module: Engine | Module | ExportedProgram | torch.nn.Module,
    file_path: str | os.PathLike[str] = "",
    *,
    extra_files: Mapping[str, str] | None = None,
    output_format: str = "exported_program",
    inputs: Sequence[Any] | None = None,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    retrace: bool = True,
    use_legacy_exporter: bool | None = None,
    pickle_protocol: int = 2,
    dynamic_shapes: Any = None,
) -> None:
    """Writes a compiled program as an ExportedProgram, for ``load`` and ``torch.export.load``.

    Args:
        module: What ``compile`` returned, an ExportedProgram, or a module.
        file_path: Of the file.
        extra_files: Texts to put beside it, by name.
        output_format: "exported_program".
        inputs, arg_inputs, kwarg_inputs: Of a module that is not compiled; a compiled program
            knows its own.
        retrace, use_legacy_exporter, pickle_protocol: Without meaning here.
        dynamic_shapes: As for ``torch.export.export``; those of the compiled program by default.

    Raises:
        UnsupportedError: Another format, or a program that takes or returns numbers.
        InvalidArgumentError: No path.
        MissingFileError, IoError: The file cannot be written.
    """
    if output_format != "exported_program":
        error = UnsupportedError if output_format in _OTHERS else InvalidArgumentError
        raise error(
            f"[torch_tensorrt] output_format: want 'exported_program', have {output_format!r}"
        )
    if not os.fspath(file_path):
        raise InvalidArgumentError("[torch_tensorrt] save: want file_path, have none")
    if extra_files is not None:
        want_mapping("[torch_tensorrt] extra_files", extra_files)
        for name, text in extra_files.items():
            want_type(f"[torch_tensorrt] extra_files: {name}", text, str)
    if issubclass(type(module), MutableModule):
        raise TypeError(
            "[torch_tensorrt] save: want a compiled program, have a mutable module: use "
            "MutableTorchTensorRTModule.save"
        )
    given = make_inputs(inputs, arg_inputs, kwarg_inputs)
    if isinstance(module, Engine | Module):
        if dynamic_shapes is None:
            program = to_exported_program(module)
        else:
            program = to_exported_program(module, *given.examples(), dynamic_shapes=dynamic_shapes)
    elif isinstance(module, ExportedProgram):
        program = module
    else:
        program = trace_inputs(module, given, dynamic_shapes)
    files = None if extra_files is None else dict(extra_files)
    # In memory first: PyTorch ends the process where a file takes no more bytes.
    archive = io.BytesIO()
    with tracing_lock():
        torch.export.save(program, archive, extra_files=files)
    with replacing(file_path) as file:
        file.write(archive.getbuffer())


def load(
    file_path: str | os.PathLike[str] = "",
    extra_files: dict[str, Any] | None = None,
    *,
    format: str | None = None,  # noqa: A002 - the name to match.
) -> Any:
    """Reads what ``save``, ``torch.export.save`` or ``regraft.save`` wrote.

    Args:
        extra_files: Names of texts to read; they are filled in.
        format: "exported_program" or nothing.

    Returns:
        An ExportedProgram, for ``refit_module_weights`` or ``.module()``; of files of Regraft's
        own, an ``Engine`` or ``Module``.

    Raises:
        MissingFileError: There is no such file.
        CorruptError, VersionError: Not a file this build reads.
    """
    if format not in (None, "exported_program"):
        raise UnsupportedError(f"[torch_tensorrt] format: want 'exported_program', have {format!r}")
    if not isinstance(extra_files, dict | None):
        raise TypeError(f"[torch_tensorrt] extra_files: want a dict, have {have(extra_files)}")
    path = path_text(file_path)
    if not _is_exported(path):
        return regraft.load(path)
    _regraft.open_source(path)  # Says what is wrong with an archive that is none.
    program = torch.export.load(path, extra_files=extra_files)
    held_tensor(program)  # A file of two compiled programs is refused before it is used.
    return program


def _is_exported(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK" and not is_module_file(path)
    except OSError:
        return False  # regraft.load says what is wrong.
