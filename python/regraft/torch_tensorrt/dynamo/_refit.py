"""Replacing weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

import regraft
from regraft.refit import refit_module_weights
from regraft.settings import CompilationSettings as NativeSettings
from regraft.torch_tensorrt._inputs import make_inputs
from regraft.torch_tensorrt.dynamo._settings import CompilationSettings

__all__ = ["construct_refit_mapping", "refit_module_weights"]


def construct_refit_mapping(
    module: torch.nn.Module | ExportedProgram,
    inputs: Sequence[Any],
    settings: CompilationSettings | NativeSettings | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of the engines that a program compiles to, by engine weight name.

    Args:
        module: A module or an ExportedProgram.
        inputs: Tensors, or ``Input`` for their shapes.
        settings: Of either library.
    """
    if isinstance(settings, CompilationSettings):
        settings = settings.native()
    args, _ = make_inputs(inputs).examples()
    return regraft.construct_refit_mapping(module, args, settings)
