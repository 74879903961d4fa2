"""The safetensors layout in memory: a header of names, and bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping

import torch

from regraft._handover import DTYPES, dtype_name, plain, torch_dtype
from regraft.errors import CorruptError

_NAMES = {"f8e4m3fn": "F8_E4M3", "f8e5m2": "F8_E5M2"}
_LIMIT = 100 << 20


def _stored_name(dtype: torch.dtype) -> str:
    name = dtype_name(dtype)
    return _NAMES.get(name, name.upper())


_DTYPES = {_NAMES.get(name, name.upper()): name for name in DTYPES}


def dump(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a ``.safetensors`` file."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    at = 0
    for name, tensor in tensors.items():
        data = plain(tensor).contiguous().flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _stored_name(tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def parse(data: bytes) -> dict[str, torch.Tensor]:
    """Tensors of the bytes of a ``.safetensors`` file, in memory of their own.

    Raises:
        CorruptError: The bytes contradict themselves.
    """
    if len(data) < 8:
        raise CorruptError("[module_file] weights: too short")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, _LIMIT):
        raise CorruptError("[module_file] weights: the header lies outside of the data")
    header = json.loads(data[8 : 8 + length])
    body = bytearray(data[8 + length :])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        shape = [int(size) for size in entry["shape"]]
        if entry["dtype"] not in _DTYPES or any(size < 0 for size in shape):
            raise CorruptError(f"[module_file] weights: '{name[:200]}' has no valid type")
        dtype = torch_dtype(_DTYPES[entry["dtype"]])
        if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
            raise CorruptError(f"[module_file] weights: '{name[:200]}' lies outside of the data")
        tensor = torch.empty(shape, dtype=dtype, device="cpu")
        if end > begin:
            piece = torch.frombuffer(body, dtype=torch.uint8, count=end - begin, offset=begin)
            tensor.flatten().view(torch.uint8).copy_(piece)
        tensors[str(name)] = tensor
    return tensors
