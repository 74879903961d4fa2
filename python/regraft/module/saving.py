"""A module as one file: an archive of engine files, the split graph as JSON and weights.

The entries are stored, not compressed; engine files lie at page borders, so that they are mapped
and used as they lie. Nothing is pickled, and no text of it becomes code.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import struct
import zipfile
from typing import IO, Any

import torch

from regraft import _regraft
from regraft._files import reading, replacing
from regraft._sizes import holds, sizes_in
from regraft.engine import Engine, engine_options
from regraft.errors import CorruptError, InvalidArgumentError, UnsupportedError, VersionError
from regraft.module import safetensors
from regraft.module.bank import Cell
from regraft.module.graph_json import graph_from_json, graph_to_json, identifier
from regraft.module.module import Module
from regraft.module.signature import Signature, SymbolRange, TensorSpec
from regraft.module.split import Layout, Segment, torch_weights
from regraft.module.table import Parameter, Spec, Table

FORMAT = "regraft module"
VERSION = 1
MANIFEST = "module.json"
_WEIGHTS = "weights.safetensors"
_PAGE = 4096


def save_module(
    module: Module, path: str | os.PathLike[str], *, strip_weights: bool, immutable: bool
) -> None:
    """Writes a module; a reader sees the old file or the new one.

    Raises:
        StateError: The module has no weights, or some were not retained.
        UnsupportedError: PyTorch segments hold what only lives in this process.
        MissingFileError, IoError: The file cannot be written.
    """
    with replacing(path) as file:
        write_module(module, file, strip_weights=strip_weights, immutable=immutable)


def module_bytes(module: Module, *, strip_weights: bool = False, immutable: bool = False) -> bytes:
    """The bytes of a module's file."""
    buffer = io.BytesIO()
    write_module(module, buffer, strip_weights=strip_weights, immutable=immutable)
    return buffer.getvalue()


def write_module(module: Module, file: IO[bytes], *, strip_weights: bool, immutable: bool) -> None:
    """Writes the archive."""
    if strip_weights and (immutable or module.is_immutable):
        raise InvalidArgumentError("[module_file] strip_weights and immutable exclude each other")
    with module.snapshot() as cells:
        optional = {n: c for n, c in cells.items() if module.table.by_name[n].optional}
        kept = optional if strip_weights else cells
        if not strip_weights:
            module.want_weights("save the weights")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, engine in zip(module.engine_names, module.engines, strict=True):
                data = engine.serialize(strip_weights=strip_weights, immutable=immutable)
                _add(archive, f"{name}.rgf", data)
            _add(archive, _WEIGHTS, safetensors.dump({n: c.tensor for n, c in kept.items()}))
            manifest = _manifest(module, immutable or module.is_immutable)
            manifest["strides"] = {n: list(c.tensor.stride()) for n, c in kept.items()}
            _add(archive, MANIFEST, json.dumps(manifest).encode())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # One fixed date: equal modules are equal files.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.CRC = 0  # Of the header whose length is asked for; writestr() computes it.
    info.file_size = info.compress_size = len(data)
    assert archive.fp is not None
    # A padding field in front of the data brings it to a page border.
    begin = archive.fp.tell() + len(info.FileHeader()) + 4
    info.extra = struct.pack("<HH", 0x5267, -begin % _PAGE) + b"\0" * (-begin % _PAGE)
    archive.writestr(info, data)


def _manifest(module: Module, immutable: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": module.name,
        "layout": dataclasses.asdict(module.layout),
        "table": [dataclasses.asdict(p) for p in module.table.parameters],
        "call": module.call_text,
        "signature": dataclasses.asdict(module.signature()),
        "explanation": module.explanation,
        "immutable": immutable,
        "identity": module.identity,
        "facts": module.facts,
        "torch": {name: graph_to_json(m) for name, m in module.torch_segments.items()},
    }


def is_module_file(file: str | IO[bytes]) -> bool:
    """Whether an archive is a saved module."""
    try:
        with zipfile.ZipFile(file) as archive:
            return MANIFEST in archive.namelist()
    except zipfile.BadZipFile:
        return False


def load_module(
    path: str, *, retain: str = "auto", adopt: bool = False, device: str | None = None
) -> Module:
    """Loads a saved module; its plans are realised for this machine.

    Raises:
        CorruptError, VersionError: Not a module file this build reads.
        UnsupportedError: PyTorch segments use ops that are not registered here.
    """
    with open(path, "rb") as file:
        return _load(file, path, engine_options(retain, adopt=adopt, device=device), path)


def module_from_bytes(data: bytes, *, retain: str = "auto") -> Module:
    """As ``load_module``, of the bytes of the file."""
    options = engine_options(retain, adopt=False)
    return _load(io.BytesIO(data), "module in memory", options, None)


def _load(
    file: IO[bytes], description: str, options: _regraft.EngineOptions, path: str | None
) -> Module:
    with reading(f"[module_file] {description}"), zipfile.ZipFile(file) as archive:
        return _read(archive, file, options, path)


def _read(
    archive: zipfile.ZipFile,
    file: IO[bytes],
    options: _regraft.EngineOptions,
    path: str | None,
) -> Module:
    manifest = json.loads(archive.read(MANIFEST))
    if manifest["format"] != FORMAT:
        raise CorruptError("[module_file] not a module file")
    if manifest["version"] != VERSION:
        raise VersionError(
            f"[module_file] version {manifest['version']}, this build reads version {VERSION}"
        )
    layout = _layout(manifest["layout"])
    table = Table(_parameter(entry) for entry in manifest["table"])
    engines = [
        _engine(archive, file, f"{segment.name}.rgf", options, path)
        for segment in layout.segments
        if segment.is_engine
    ]
    return Module(
        name=str(manifest["name"]),
        layout=layout,
        engines=engines,
        torch_segments={
            segment.name: graph_from_json(manifest["torch"][segment.name], segment.name)
            for segment in layout.segments
            if not segment.is_engine
        },
        table=table,
        cells=_cells(archive, table, layout, manifest["strides"]),
        call=manifest["call"],
        signature=_signature(manifest["signature"]),
        explanation=str(manifest["explanation"]),
        immutable=bool(manifest["immutable"]),
        identity=manifest["identity"],
        facts=manifest["facts"],
    )


def _engine(
    archive: zipfile.ZipFile,
    file: IO[bytes],
    name: str,
    options: _regraft.EngineOptions,
    path: str | None,
) -> Engine:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or path is None:
        return Engine(_regraft.Engine.deserialize(archive.read(info), options))
    file.seek(info.header_offset)
    header = file.read(30)
    names, extra = struct.unpack_from("<HH", header, 26)
    at = info.header_offset + 30 + names + extra
    if at % _PAGE:
        return Engine(_regraft.Engine.deserialize(archive.read(info), options))
    return Engine(_regraft.Engine.load_part(path, at, info.file_size, options))


def _cells(
    archive: zipfile.ZipFile, table: Table, layout: Layout, strides: dict[str, list[int]]
) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    wanted = set(torch_weights(layout))
    for name, tensor in safetensors.parse(archive.read(_WEIGHTS)).items():
        spec = table.by_name[name].spec
        if name not in wanted or tuple(tensor.shape) != spec.dims:
            raise CorruptError(f"[module_file] weights: '{name[:200]}' does not fit the table")
        cells[name] = Cell(_laid_out(tensor, strides[name]))
    return cells


def _laid_out(tensor: torch.Tensor, strides: list[int]) -> torch.Tensor:
    """In the strides it had, which ops of the segments may rely on."""
    if list(tensor.stride()) == strides:
        return tensor
    order = sorted(range(tensor.dim()), key=lambda d: strides[d], reverse=True)
    back = [order.index(d) for d in range(tensor.dim())]
    return tensor.permute(order).contiguous().permute(back)


def _layout(data: dict[str, Any]) -> Layout:
    segments = tuple(
        Segment(
            name=str(s["name"]),
            is_engine=bool(s["is_engine"]),
            inputs=tuple((str(name), int(dim)) for name, dim in s["inputs"]),
            outputs=tuple(str(name) for name in s["outputs"]),
            weights=tuple(str(name) for name in s["weights"]),
        )
        for s in data["segments"]
    )
    names = [s.name for s in segments]
    for name in (*names, *data["inputs"]):
        identifier(str(name))
    if len(set(names)) != len(names):
        raise CorruptError("[module_file] two segments of one name")
    return Layout(
        segments,
        tuple(str(name) for name in data["inputs"]),
        tuple((str(value), str(parameter)) for value, parameter in data["outputs"]),
    )


def _parameter(data: dict[str, Any]) -> Parameter:
    spec = data["spec"]
    return Parameter(
        spec=Spec(str(spec["name"]), str(spec["dtype"]), tuple(int(d) for d in spec["dims"])),
        aliases=tuple(str(alias) for alias in data["aliases"]),
        optional=bool(data["optional"]),
        engines=tuple(int(i) for i in data["engines"]),
        in_torch=bool(data["in_torch"]),
    )


def _signature(data: dict[str, Any]) -> Signature:
    def specs(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(str(e["name"]), str(e["dtype"]), tuple(str(d) for d in e["dims"]))
            for e in entries
        )

    symbols = tuple(
        SymbolRange(
            str(e["name"]),
            int(e["min"]),
            None if e["max"] is None else int(e["max"]),
            int(e["optimum"]),
        )
        for e in data["symbols"]
    )
    guards = tuple(str(guard) for guard in data.get("guards", ()))
    for guard in guards:
        try:
            holds(guard, dict.fromkeys(sizes_in(guard), 2))
        except UnsupportedError as error:
            raise CorruptError(f"[module_file] {error}") from error
    return Signature(specs(data["inputs"]), specs(data["outputs"]), symbols, guards)
