"""Adapters from state dicts and files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regraft._handover import unreadable
from regraft._weights import open_file
from regraft.errors import InvalidArgumentError, MismatchError, UnsupportedError
from regraft.lora.adapter import Adapter, Delta, Replacement
from regraft.lora.config import LoraConfig, read_config
from regraft.lora.names import Finder, understand
from regraft.lora.state import Parameter
from regraft.lora.want import fits, nearest, problems_of, want_fitting
from regraft.module.source import FileSource
from regraft.module.staging import raise_problems

__all__ = ["LoraConfig", "find_file", "read_adapter", "read_config", "read_tensors"]


# Where libraries put an adapter in a folder.
_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")


def find_file(path: str | os.PathLike[str]) -> Path:
    """The ``.safetensors`` file of an adapter, given itself or its folder."""
    file = Path(path)
    if not file.is_dir():
        return file
    return next((file / name for name in _FILES if (file / name).exists()), file / _FILES[0])


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file.

    Raises:
        NotFoundError: It is not there.
    """
    source = FileSource(open_file(file))
    return {name: source.tensor(name) for name in source.names()}


@dataclass
class _Layer:
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    alpha: float | None = None
    embedding: bool = False

    def lack(self) -> str:
        if self.a is None and self.b is None:
            return "an alpha without A and B"
        return "B without A" if self.a is None else "A without B"


def read_adapter(
    name: str,
    tensors: Mapping[str, Any],
    config: LoraConfig,
    parameters: Mapping[str, Parameter],
    prefix: str = "",
) -> Adapter:
    """An adapter of a state dict, by canonical names of the parameters.

    Raises:
        MismatchError: Names that match nothing (with the nearest), shapes and ranks that do not
            fit; lists all.
        UnsupportedError: What is no plain LoRA; lists all.
        InvalidArgumentError: There is nothing in it, or alpha is not known.
    """
    if wrong := [key for key in tensors if not isinstance(key, str)]:
        raise InvalidArgumentError(
            f"[lora] {name}: want names of tensors, have {', '.join(map(repr, wrong))}"
        )
    tensors = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    _want_tensors(name, tensors)
    layers, values = _sort(name, tensors)
    if not layers and not values:
        raise InvalidArgumentError(f"[lora] {name}: the state dict holds no adapter")
    _want_alpha(name, layers, config, prefix)
    finder = Finder(parameters)
    problems: list[str] = []
    deltas: dict[str, Delta] = {}
    for path, layer in layers.items():
        weight = finder.weight(path)
        if weight is None:
            problems.append(f"{path}: the program has no such layer{_near(path, parameters)}")
        elif layer.a is None or layer.b is None:
            problems.append(f"{path}: has {layer.lack()}")
        elif weight in deltas:
            problems.append(f"{path}: is {weight}, which another name of the adapter means too")
        else:
            own = config.for_layer(prefix + path)
            deltas[weight] = _delta(path, layer, own, parameters[weight])
    replaced: dict[str, Replacement] = {}
    for key, value in values.items():
        parameter = finder.parameter(key)
        if parameter is None:
            problems.append(f"{key}: the program has no such parameter{nearest(key, parameters)}")
        else:
            replaced[parameter] = Replacement(value)
    adapter = Adapter(deltas, replaced)
    problems += problems_of(adapter, parameters)
    raise_problems("lora", [f"{name}: {problem}" for problem in problems], MismatchError)
    return want_fitting(name, adapter, parameters)


def _want_tensors(name: str, tensors: Mapping[str, Any]) -> None:
    wrong = []
    for key, value in tensors.items():
        is_tensor = isinstance(value, torch.Tensor)
        if is_tensor and (problem := unreadable(value)):
            wrong.append(f"{key}: {problem}")
            continue
        is_number = isinstance(value, int | float) or (
            is_tensor and value.numel() == 1 and not value.is_complex()
        )
        if key.endswith(".alpha") and not (is_number and math.isfinite(float(value))):
            wrong.append(f"{key}: want one finite number, have {_text(value)}")
        elif not key.endswith(".alpha") and not isinstance(value, torch.Tensor):
            wrong.append(f"{key}: want a tensor, have {_text(value)}")
    raise_problems("lora", [f"{name}: {problem}" for problem in wrong], InvalidArgumentError)


def _text(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__ if not isinstance(value, int | float) else repr(value)
    return repr(value.item()) if value.numel() == 1 else f"{list(value.shape)} elements"


def _sort(
    name: str, tensors: Mapping[str, Any]
) -> tuple[dict[str, _Layer], dict[str, torch.Tensor]]:
    keys = {key: understand(key) for key in tensors}
    adapters = {key.adapter for key in keys.values() if key.adapter is not None}
    if len(adapters) > 1 and name not in adapters:
        raise InvalidArgumentError(
            f"[lora] {name}: the state dict holds the adapters {', '.join(sorted(adapters))}; "
            "load it under the name of one of them"
        )
    layers: dict[str, _Layer] = {}
    values: dict[str, torch.Tensor] = {}
    problems: list[str] = []
    for key, what in keys.items():
        if what.kind == "ignored":
            problems.append(
                f"{key}: is of a whole model; pass peft.get_peft_model_state_dict(model)"
            )
        elif len(adapters) > 1 and what.adapter not in (None, name):
            continue
        elif what.kind == "value":
            values[what.path] = tensors[key]
        elif what.kind in ("a", "b"):
            layer = layers.setdefault(what.path, _Layer())
            layer.embedding |= what.embedding
            setattr(layer, what.kind, tensors[key])
        elif what.kind == "alpha":
            layers.setdefault(what.path, _Layer()).alpha = float(tensors[key])
        else:
            problems.append(f"{key}: {what.kind}")
    raise_problems("lora", [f"{name}: {problem}" for problem in problems], UnsupportedError)
    return layers, values


def _want_alpha(name: str, layers: Mapping[str, _Layer], config: LoraConfig, prefix: str) -> None:
    unknown = [
        path
        for path, layer in layers.items()
        if path.startswith("base_model.model.")
        and layer.alpha is None
        and config.for_layer(prefix + path).alpha_of(path.removeprefix("base_model.model.")) is None
    ]
    if unknown:
        raise InvalidArgumentError(
            f"[lora] {name}: the scale of {len(unknown)} layers is not known ({unknown[0]}, ...): "
            "pass alpha= or config=, or load a file with adapter_config.json beside it"
        )


def _delta(path: str, layer: _Layer, config: LoraConfig, parameter: Parameter) -> Delta:
    assert layer.a is not None
    assert layer.b is not None
    rank = max(int(layer.a.shape[0]) if layer.a.ndim else 1, 1)
    alpha = layer.alpha
    if alpha is None:
        alpha = config.alpha_of(path.removeprefix("base_model.model."))
    a, b = tuple(layer.a.shape), tuple(layer.b.shape)
    transposed = layer.embedding or (
        config.fan_in_fan_out
        and (fits(a, b, parameter.dims, True) or not fits(a, b, parameter.dims, False))
    )
    return Delta(layer.a, layer.b, config.scale(rank if alpha is None else alpha, rank), transposed)


def _near(path: str, parameters: Mapping[str, Parameter]) -> str:
    bare = path.removeprefix("base_model.model.")
    return nearest(bare, [p.removesuffix(".weight") for p in parameters if p.endswith(".weight")])
