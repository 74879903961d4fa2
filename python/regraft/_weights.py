"""New weights in any form PyTorch people have them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram

from regraft import _regraft
from regraft._handover import tensors_of
from regraft._want import path_text

Weights: TypeAlias = (
    Mapping[str, torch.Tensor] | torch.nn.Module | ExportedProgram | str | os.PathLike[str]
)


def tensors_from(weights: Any) -> Mapping[str, torch.Tensor]:
    """Tensors by name of a mapping, a module or a program.

    A module gives its parameters and all its buffers, the non-persistent ones too, which its
    ``state_dict`` leaves out.

    Raises:
        TypeError: ``weights`` is none of these.
    """
    if isinstance(weights, ExportedProgram):
        return tensors_of(weights)
    if isinstance(weights, torch.nn.Module):
        tensors = dict(weights.named_parameters(remove_duplicate=False))
        tensors.update(weights.named_buffers(remove_duplicate=False))
        return tensors
    if isinstance(weights, Mapping):
        if wrong := [name for name in weights if not isinstance(name, str)]:
            raise TypeError(f"want names of parameters, have {', '.join(map(repr, wrong))}")
        return weights
    raise TypeError(
        "want a mapping of name to tensor, a torch.nn.Module, an ExportedProgram or the path of a "
        f".safetensors or .pt2 file; have {type(weights).__name__}"
    )


def is_path(weights: Any) -> bool:
    """Whether ``weights`` names a file."""
    return isinstance(weights, str | os.PathLike)


def open_file(path: str | os.PathLike[str]) -> _regraft.WeightSource:
    """A mapped ``.safetensors`` or ``.pt2`` file."""
    return _regraft.open_source(path_text(path))
