#!/usr/bin/env python3
"""Writes the seed files of the fuzz targets of weight formats into tests/fuzz/corpus/<name>/.

Small valid files, so that a fuzzer starts behind the magic bytes. Standard library only; the
result depends on nothing but this script.
"""

from __future__ import annotations

import json
import struct
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parent / "corpus"
FLOAT, LONG, BOOL = 7, 5, 12  # ScalarType of the export schema.


def pack(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def sym_ints(values: list[int]) -> list[dict[str, int]]:
    return [{"as_int": value} for value in values]


def payload(
    path: str, dtype: int, sizes: list[int], strides: list[int], offset: int = 0
) -> dict[str, Any]:
    meta = {
        "dtype": dtype,
        "sizes": sym_ints(sizes),
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": sym_ints(strides),
        "storage_offset": {"as_int": offset},
        "layout": 7,
    }
    return {"path_name": path, "is_param": True, "use_pickle": False, "tensor_meta": meta}


def pt2_records(fake: bool = False) -> dict[str, bytes]:
    weights = {
        "w": payload("weight_0", FLOAT, [2, 3], [3, 1]),
        "tied": payload("weight_0", FLOAT, [3, 2], [1, 3]),
        "slice": payload("weight_0", FLOAT, [2], [2], 1),
        "step": payload("weight_1", LONG, [], []),
        "empty": payload("weight_2", FLOAT, [0], [1]),
    }
    constants = {"mask": payload("tensor_0", BOOL, [3], [1])}
    return {
        "data/weights/weight_0": b"" if fake else pack(0, 1, 2, 3, 4, 5),
        "data/weights/weight_1": struct.pack("<q", 7),
        "data/weights/weight_2": b"",
        "data/weights/model_weights_config.json": json.dumps({"config": weights}).encode(),
        "data/constants/tensor_0": b"\0\1\1",
        "data/constants/model_constants_config.json": json.dumps({"config": constants}).encode(),
        "models/model.json": b"{}",
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
    }


def archive(records: dict[str, bytes], method: int, root: str = "m/", zip64: bool = False) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, data in records.items():
            entry = zipfile.ZipInfo(root + name)  # Its date is fixed.
            entry.compress_type = method
            with out.open(entry, "w", force_zip64=zip64) as member:
                member.write(data)
    return buffer.getvalue()


def safetensors(entries: dict[str, Any], data: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def npy(version: int, descr: str, fortran: bool, shape: tuple[int, ...], data: bytes) -> bytes:
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def seeds() -> dict[str, bytes]:
    records = pt2_records()
    three = {
        "__metadata__": {"format": "pt"},
        "a": tensor("F32", [2, 2], 0, 16),
        "b": tensor("BOOL", [3], 16, 19),
        "c\u00e9": tensor("BF16", [0, 4], 19, 19),
    }
    return {
        "pt2/stored": archive(records, zipfile.ZIP_STORED),
        "pt2/deflated": archive(records, zipfile.ZIP_DEFLATED, root="", zip64=True),
        "pt2/fake": archive(pt2_records(fake=True), zipfile.ZIP_STORED),
        "pt2/legacy": archive({"serialized_exported_program.json": b"{}"}, zipfile.ZIP_STORED, ""),
        "safetensors/empty": safetensors({}, b""),
        "safetensors/three": safetensors(three, pack(1, 2, 3, 4) + b"\0\1\1"),
        "safetensors/scalar": safetensors({"s": tensor("I64", [], 0, 8)}, struct.pack("<q", -1)),
        "npy/v1": npy(1, "<f4", False, (2, 3), pack(0, 1, 2, 3, 4, 5)),
        "npy/v2_fortran": npy(2, "<i2", True, (2, 2), b"\1\0\2\0\3\0\4\0"),
        "npy/v3_scalar": npy(3, "<c16", False, (), struct.pack("<dd", 1, 2)),
        "npy/bools": npy(1, "|b1", False, (3,), b"\0\1\1"),
    }


def main() -> None:
    for name, data in seeds().items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(seeds())} files in {CORPUS}")


if __name__ == "__main__":
    main()
