"""Files of mutable modules: a zip of a manifest (JSON), stripped engines, and weights."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import Dim
from torch.export.dynamic_shapes import _DimHint

from regraft._files import reading, replacing
from regraft._want import path_text
from regraft.errors import Error, IoError, MissingFileError, VersionError
from regraft.module import safetensors
from regraft.mutable.calls import CallKind, FreeDims
from regraft.mutable.follower import Follower
from regraft.mutable.saved import (
    SavedModule,
    SavedProgram,
    SavedWeight,
    aliases_of,
    programs_of,
    weights_of,
)
from regraft.saving import load as load_engine
from regraft.settings import make_settings

_VERSION = 2
_READ = (1, 2)  # The first had neither weights nor programs.
_MANIFEST = "mutable.json"
_WEIGHTS = "weights.safetensors"
_KEY = re.compile("[0-9a-f]{64}")  # Of ``fingerprint``.
# Settings that say where on the maker's machine: nobody else writes there for a file.
_LOCAL = ("engine_cache_dir",)
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes:
        module: Holds the weights; None where they were left out.
    """

    settings: dict[str, Any]
    options: dict[str, Any]
    hints: tuple[Any, dict[str, Any]] | None
    free: dict[CallKind, FreeDims]
    engines: dict[str, Any]
    programs: list[SavedProgram]
    module: SavedModule | None


def save(follower: Follower, path: str | os.PathLike[str], strip_weights: bool) -> None:
    """Writes atomically; settings that are objects (caches, callbacks) or folders are left out.

    Raises:
        TypeError: Dynamic shapes that have no text form, such as derived dims.
        MissingFileError, IoError: The file cannot be written.
    """
    weights = {} if strip_weights else weights_of(follower)
    # Names of one tensor have one number.
    tensors = {id(weight.tensor): weight.tensor for weight in weights.values()}
    numbers = {key: str(number) for number, key in enumerate(tensors)}
    manifest = {
        "version": _VERSION,
        "options": follower.options(),
        "settings": {
            k: v for k, v in follower.settings.items() if _is_plain(v) and k not in _LOCAL
        },
        "hints": None if follower.hints is None else _encode(follower.hints),
        "free": [
            [kind.spec, list(kind.leaves), [sorted(dims) for dims in free]]
            for kind, free in follower.free.items()
        ],
        "engines": list(follower.kept),
        "programs": [dataclasses.asdict(program) for program in programs_of(follower)],
        "weights": None
        if strip_weights
        else [
            [name, numbers[id(w.tensor)], w.is_parameter, w.is_persistent, w.requires_grad]
            for name, w in weights.items()
        ],
        "aliases": aliases_of(follower),
    }
    with (
        replacing(path) as file,
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(file, "w") as archive,
    ):
        archive.writestr(_MANIFEST, json.dumps(manifest))
        for number, (key, engine) in enumerate(follower.kept.items()):
            file_of_engine = Path(folder) / str(number)
            engine.save(file_of_engine, strip_weights=True)
            archive.write(file_of_engine, key)
        if not strip_weights:
            own = {numbers[key]: tensor.detach() for key, tensor in tensors.items()}
            archive.writestr(_WEIGHTS, safetensors.dump(own))


def load(path: str | os.PathLike[str]) -> Saved:
    """Reads what ``save`` wrote.

    Raises:
        MissingFileError, CorruptError, VersionError: Not such a file.
    """
    path = path_text(path)
    try:
        with (
            open(path, "rb") as file,
            reading(f"[mutable] {path}: not a file of MutableModule.save"),
            zipfile.ZipFile(file) as archive,
        ):
            return _read(archive, path)
    except Error:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"[mutable] {path}: the file does not exist") from error
    except OSError as error:
        raise IoError(f"[mutable] {path}: cannot read: {error.strerror}") from error


def _read(archive: zipfile.ZipFile, path: str) -> Saved:
    manifest = json.loads(archive.read(_MANIFEST))
    if manifest["version"] not in _READ:
        raise VersionError(f"[mutable] {path}: want version {_VERSION}, have {manifest['version']}")
    programs = [_program(entry) for entry in manifest.get("programs", [])]
    return Saved(
        _settings(manifest["settings"]),
        _options(manifest["options"]),
        _hints(manifest["hints"]),
        dict(_free(*entry) for entry in manifest["free"]),
        _engines(archive, manifest["engines"]),
        programs,
        _module(archive, manifest, programs),
    )


def _engines(archive: zipfile.ZipFile, keys: list[str]) -> dict[str, Any]:
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, key in enumerate(keys):
            if not _KEY.fullmatch(key):
                raise ValueError(f"the key of an engine is {key[:100]!r}")
            file = Path(folder) / str(number)
            file.write_bytes(archive.read(key))
            engines[key] = load_engine(file)
    return engines


def _module(
    archive: zipfile.ZipFile, manifest: dict[str, Any], programs: list[SavedProgram]
) -> SavedModule | None:
    if manifest.get("weights") is None:
        return None
    own = safetensors.parse(archive.read(_WEIGHTS))
    weights = {
        str(name): SavedWeight(own[number], *map(bool, facts))
        for name, number, *facts in manifest["weights"]
    }
    aliases = dict(manifest.get("aliases", {}))
    _want_known_names(programs, weights, aliases)
    return SavedModule.of(weights, aliases)


def _kind(spec: str, leaves: list[list[Any]]) -> CallKind:
    return CallKind(str(spec), tuple(map(tuple, leaves)))


def _ranks(kind: CallKind) -> list[int]:
    """Of the tensors of a call."""
    return [leaf[2] for leaf in kind.leaves if leaf[0] == "tensor" and len(leaf) == 3]


def _free(spec: str, leaves: list[list[Any]], dims: list[list[int]]) -> tuple[CallKind, FreeDims]:
    kind = _kind(spec, leaves)
    for rank, own in zip(_ranks(kind), dims, strict=True):
        if not {*own} <= {*range(rank)}:
            raise ValueError(f"dims {own} of a tensor of rank {rank}")
    return kind, tuple(map(frozenset, dims))


def _program(entry: dict[str, Any]) -> SavedProgram:
    kind = _kind(**entry["kind"])
    sizes = tuple(map(tuple, entry["sizes"]))
    if [len(own) for own in sizes] != _ranks(kind):
        raise ValueError(f"sizes {entry['sizes']} of the call {kind.leaves}")
    if not all(isinstance(size, int | str) for own in sizes for size in own):
        raise ValueError(f"sizes: have {entry['sizes']}")
    ranges = {symbol: (int(least), int(most)) for symbol, (least, most) in entry["ranges"].items()}
    return SavedProgram(str(entry["key"]), kind, sizes, ranges, dict(entry["places"]))


def _settings(stored: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in stored.items() if name not in _LOCAL}
    make_settings(own)
    return own


def _options(stored: dict[str, Any]) -> dict[str, Any]:
    kinds = {name: type(value) for name, value in stored.items()}
    if kinds != {"track": str, "strict": bool, "max_engines": int}:
        raise ValueError(f"options: have {stored}")
    return stored


def _hints(stored: Any) -> tuple[Any, dict[str, Any]] | None:
    if stored is None:
        return None
    positional, by_name = _decode(stored, {})
    if not isinstance(positional, tuple) or not isinstance(by_name, dict):
        raise ValueError(f"hints: have {stored}")
    return positional, by_name


def _want_known_names(
    programs: list[SavedProgram], weights: dict[str, SavedWeight], aliases: dict[str, str]
) -> None:
    paths = {""}
    for name in weights:
        parts = name.split(".")
        if not all(parts):
            raise ValueError(f"the name of a weight is {name!r}")
        paths.update(".".join(parts[:i]) for i in range(len(parts)))
    places = {place for program in programs for place in program.places.values()}
    unknown = [*(places - weights.keys()), *({*aliases.values()} - paths)]
    if unknown:
        raise ValueError(f"unknown weights {', '.join(map(repr, unknown))}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return isinstance(value, _PLAIN)


def _encode(value: Any) -> Any:
    """Dynamic shapes as JSON: containers and dims are objects with one key."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, _DimHint):
        return {"hint": [value.type.name, value.min, value.max]}
    if type(value) is Dim:
        return {"dim": [value.__name__, value.min, value.max]}
    raise TypeError(f"[mutable] dynamic shapes: {value!r} cannot be saved")


def _decode(value: Any, dims: dict[str, Any]) -> Any:
    # One Dim per name: arguments that share one have equal sizes.
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {_decode(key, dims): _decode(item, dims) for key, item in inner}
    if kind == "dim":
        name, least, greatest = inner
        return dims.setdefault(name, Dim(name, min=least, max=greatest))
    if kind == "hint":
        hint = {"AUTO": Dim.AUTO, "DYNAMIC": Dim.DYNAMIC, "STATIC": Dim.STATIC}[inner[0]]
        return hint if inner[1:] == [None, None] else hint(min=inner[1], max=inner[2])
    items = [_decode(item, dims) for item in inner]
    return tuple(items) if kind == "tuple" else items
