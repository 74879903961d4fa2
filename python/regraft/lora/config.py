"""Scales of an adapter: what PEFT's adapter_config.json says, or the caller."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from regraft._want import finite, want_mapping, want_type
from regraft.errors import InvalidArgumentError, UnsupportedError
from regraft.lora.metadata import header_fields

# Fields of PEFT's LoraConfig under which B @ A is not the whole change.
_NOT_PLAIN = ("use_dora", "lora_bias", "trainable_token_indices", "layer_replication", "use_bdlora")


@dataclass(frozen=True)
class LoraConfig:
    """Attributes:
    alpha: Of layers that bring none and match no pattern.
    parts: Instead of this one, of the layers whose path begins with the name.
    """

    alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    parts: Mapping[str, LoraConfig] = field(default_factory=dict)

    @staticmethod
    def of(fields: Mapping[str, Any]) -> LoraConfig:
        """From the fields of PEFT's configuration.

        Raises:
            UnsupportedError: It is none of plain LoRA; lists why.
            TypeError, InvalidArgumentError: A field is not what it has to be.
        """
        want_mapping("[lora] config", fields)
        kind = fields.get("peft_type", "LORA")
        wrong = [name for name in _NOT_PLAIN if fields.get(name)]
        if str(getattr(kind, "value", kind)) != "LORA":
            wrong.insert(0, f"peft_type {kind}")
        if wrong:
            raise UnsupportedError(f"[lora] want plain LoRA, have {', '.join(wrong)}")
        alpha = fields.get("lora_alpha")
        return LoraConfig(
            alpha=None if alpha is None else finite("[lora] lora_alpha", alpha),
            alpha_pattern=_pattern(fields.get("alpha_pattern") or {}),
            use_rslora=bool(fields.get("use_rslora")),
            fan_in_fan_out=bool(fields.get("fan_in_fan_out")),
        )

    def overridden(
        self, *, alpha: float | None, use_rslora: bool | None, fan_in_fan_out: bool | None
    ) -> LoraConfig:
        """With what the caller said; None leaves a field as it is."""
        for name, flag in (("use_rslora", use_rslora), ("fan_in_fan_out", fan_in_fan_out)):
            if flag is not None:
                want_type(f"[lora] {name}", flag, bool)
        out = self
        if alpha is not None:
            out = replace(out, alpha=finite("[lora] alpha", alpha), alpha_pattern={})
        if use_rslora is not None:
            out = replace(out, use_rslora=use_rslora)
        if fan_in_fan_out is not None:
            out = replace(out, fan_in_fan_out=fan_in_fan_out)
        parts = {
            name: part.overridden(alpha=alpha, use_rslora=use_rslora, fan_in_fan_out=fan_in_fan_out)
            for name, part in self.parts.items()
        }
        return replace(out, parts=parts)

    def for_layer(self, path: str) -> LoraConfig:
        """What holds for the layer at ``path``."""
        return next((c for name, c in self.parts.items() if path.startswith(f"{name}.")), self)

    def alpha_of(self, path: str) -> float | None:
        """Of the layer at ``path``; a pattern matches the path or its end, as in PEFT."""
        for pattern, alpha in self.alpha_pattern.items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                return float(alpha)
        return self.alpha

    def scale(self, alpha: float, rank: int) -> float:
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def read_config(path: str | os.PathLike[str], file: Path, prefix: str = "") -> LoraConfig:
    """What the ``adapter_config.json`` in a folder or beside a file says, or else the header of the
    file; defaults where neither says anything.

    Args:
        path: What the user gave.
        file: The ``.safetensors`` file.
        prefix: Of the names that are taken.

    Raises:
        InvalidArgumentError: It is not a JSON object.
        UnsupportedError: It is none of plain LoRA.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    beside = folder / "adapter_config.json"
    if not beside.exists():
        return _of_header(file, prefix)
    try:
        fields = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArgumentError(f"[lora] {beside}: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidArgumentError(f"[lora] {beside}: want a JSON object")
    try:
        return LoraConfig.of(fields)
    except TypeError as error:
        raise InvalidArgumentError(f"[lora] {beside}: {error}") from error


def _pattern(fields: Any) -> dict[str, float]:
    want_mapping("[lora] alpha_pattern", fields)
    for pattern in fields:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InvalidArgumentError(
                f"[lora] alpha_pattern: want regular expressions, have {pattern!r}: {error}"
            ) from error
    return {name: finite(f"[lora] alpha_pattern of {name}", v) for name, v in fields.items()}


def _of_header(file: Path, prefix: str) -> LoraConfig:
    if file.suffix != ".safetensors":
        return LoraConfig()
    fields = header_fields(file)
    taken = {name: value for name, value in fields.items() if f"{name}.".startswith(prefix)}
    parts = {name: LoraConfig.of(value) for name, value in taken.items() if name}
    whole = LoraConfig.of(fields[""]) if "" in fields else LoraConfig()
    return replace(whole, parts=parts)
