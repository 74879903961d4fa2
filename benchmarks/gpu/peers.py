"""How PyTorch runs a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, cast

import torch

PEERS = ("eager", "reduce-overhead", "max-autotune", "aoti")


def peer(kind: str, model: torch.nn.Module, inputs: tuple[Any, ...]) -> Callable[..., Any]:
    if kind == "eager":
        return cast("Callable[..., Any]", model)
    if kind == "aoti":
        folder = tempfile.mkdtemp()
        with torch.no_grad():
            path = torch._inductor.aoti_compile_and_package(
                torch.export.export(model, inputs), package_path=f"{folder}/model.pt2"
            )
        return cast("Callable[..., Any]", torch._inductor.aoti_load_package(path))
    torch.compiler.reset()
    return cast("Callable[..., Any]", torch.compile(model, mode=kind))
