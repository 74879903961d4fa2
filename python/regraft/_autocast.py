"""``torch.autocast`` around calls and exports."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from torch.export import ExportedProgram

from regraft._handover import functional

_DEVICE_TYPES = ("cpu", "cuda")


def autocast_dtypes() -> tuple[tuple[str, str], ...]:
    """Device type and dtype of each autocast that is on."""
    return tuple(
        (kind, str(torch.get_autocast_dtype(kind)))
        for kind in _DEVICE_TYPES
        if torch.is_autocast_enabled(kind)
    )


def with_casts(program: ExportedProgram) -> ExportedProgram:
    """The program with the casts of the autocast that it was just exported under.

    The export alone leaves them to whoever runs it: only functional programs have them as nodes.
    """
    return functional(program) if autocast_dtypes() else program


def without_autocast() -> AbstractContextManager[object]:
    """Runs PyTorch as it was compiled, whatever autocast is around the call."""
    kinds = [kind for kind in _DEVICE_TYPES if torch.is_autocast_enabled(kind)]
    if not kinds:
        return nullcontext()
    off = ExitStack()
    for kind in kinds:
        off.enter_context(torch.autocast(kind, enabled=False))
    return off
