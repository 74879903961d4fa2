"""The configuration that diffusers writes into the header of a ``.safetensors`` file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.errors import InvalidArgumentError

_KEY = "lora_adapter_metadata"


def header_fields(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The fields of PEFT's LoraConfig by the part of a pipeline they are for ("unet", ...; "" of a
    file of one model); nothing where the file has none.

    Args:
        path: Of a file whose header was found well-formed.

    Raises:
        InvalidArgumentError: The metadata is no JSON object.
    """
    with Path(path).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: Mapping[str, Any] = json.loads(file.read(size))
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if text is None:
        return {}
    try:
        fields = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"[lora] {os.fspath(path)}: {_KEY} of its header: {error}"
        ) from error
    if not isinstance(fields, dict):
        raise InvalidArgumentError(
            f"[lora] {os.fspath(path)}: {_KEY} of its header: want a JSON object"
        )
    parts: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        part, _, field = name.rpartition(".")
        parts.setdefault(part, {})[field] = value
    return parts
