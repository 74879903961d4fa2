"""Compiled programs as files."""

from __future__ import annotations

import os
from typing import Any

import torch

from regraft._want import path_text
from regraft.engine import Engine, engine_options, load_engine
from regraft.errors import InvalidArgumentError, MissingFileError, UnsupportedError
from regraft.exported import compiled_of, held_tensor, to_exported_program
from regraft.module.module import Module
from regraft.module.saving import is_module_file, load_module

__all__ = ["load", "save", "to_exported_program"]


def save(
    compiled: Engine | Module,
    path: str | os.PathLike[str],
    *,
    strip_weights: bool = False,
    immutable: bool = False,
) -> None:
    """Writes a compiled program to one file, atomically.

    Args:
        compiled: What ``compile`` returned.
        strip_weights: Leave the weights out: kilobytes; the loaded program must be refitted.
        immutable: Store the final constants only; the loaded program refuses refits.

    Raises:
        StateError: It has no weights, or some were not retained.
    """
    if not isinstance(compiled, Engine | Module):
        raise TypeError(f"want a regraft.Engine or regraft.Module, have {type(compiled).__name__}")
    compiled.save(path, strip_weights=strip_weights, immutable=immutable)


def load(
    path: str | os.PathLike[str],
    *,
    retain: str = "auto",
    realised: str = "",
    adopt: bool = False,
    device: str | torch.device | None = None,
) -> Any:
    """Loads what ``save`` wrote, or the compiled program in a ``.pt2`` of ``torch.export.save``.

    Args:
        retain: Which parameters stay at hand for partial refits and saving: "auto", "host", "none".
        realised: Of an engine file: text of ``Engine.realised_plan()`` whose choices to repeat.
        adopt: Use constants that are parameters of the file where they lie: loads faster and shares
            the memory with other processes, but such constants cannot be refitted in place.
        device: Where engines of the cuda backend run: "cuda:1"; the first GPU by default.

    Returns:
        An ``Engine`` or a ``Module``; its plans are realised for this machine.

    Raises:
        CorruptError, VersionError: Not a file this build reads.
        NotFoundError: There is no such file.
        UnsupportedError: A ``.pt2`` without a compiled program.
    """
    name = path_text(path)
    engine_options(retain, realised, adopt, device)  # Before anything is read.
    try:
        with open(name, "rb") as file:
            is_archive = file.read(2) == b"PK"
    except FileNotFoundError as error:
        raise MissingFileError(f"[file] {name}: no such file") from error
    except IsADirectoryError:
        is_archive = False  # The core says it in its own words.
    if not is_archive:
        return load_engine(name, retain, realised, adopt, device)
    if realised:
        raise InvalidArgumentError("[engine] realised: want an engine file, have an archive")
    if is_module_file(name) or not _is_exported(name):
        return load_module(name, retain=retain, adopt=adopt, device=device)
    held = held_tensor(torch.export.load(name))
    if held is None:
        raise UnsupportedError(f"[engine] {name}: a program that is not compiled; compile it")
    return compiled_of(held)


def _is_exported(path: str) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("models/model.json") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
