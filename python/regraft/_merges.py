"""Merges of PEFT's layers count up the versions of the weights they wrote.

``merge`` and ``unmerge`` write through ``weight.data``, which leaves no trace in PyTorch; what one
adds and the other takes away again leaves the weights with other bits, and nothing else changed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

_MARK = "_regraft_counts"


def watch_merges() -> bool:
    """Makes the layers of PEFT that exist count versions; idempotent.

    Returns:
        False while the process does not use PEFT.
    """
    if "peft" not in sys.modules:
        return False
    tuners: Any = importlib.import_module("peft.tuners.tuners_utils")
    for layer in _with_subclasses(tuners.BaseTunerLayer):
        for name in ("merge", "unmerge"):
            method = vars(layer).get(name)
            if inspect.isfunction(method) and not hasattr(method, _MARK):
                setattr(layer, name, _counting(method))
    return True


def _with_subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _with_subclasses(child)


def _counting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def counted(layer: Any, *args: Any, **kwargs: Any) -> Any:
        merged = list(getattr(layer, "merged_adapters", ()))
        try:
            result = method(layer, *args, **kwargs)
        except BaseException:
            _count(layer)
            raise
        if merged != list(getattr(layer, "merged_adapters", ())):
            _count(layer)
        return result

    setattr(counted, _MARK, True)
    return counted


def _count(layer: Any) -> None:
    base = layer.get_base_layer()
    # LoRA writes a bias only where it has one of its own; of other methods nobody knows.
    writes_weight_only = hasattr(layer, "lora_bias") and not any(layer.lora_bias.values())
    tensors = [
        tensor
        for name, tensor in base.named_parameters()
        if (name == "weight" or not writes_weight_only) and not tensor.is_inference()
    ]
    torch.autograd.graph.increment_version(tensors)
