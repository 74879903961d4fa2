#!/usr/bin/env python3
"""Writes the seed files of the fuzz target `program` into tests/fuzz/corpus/program/.

Real exports of small modules, without the metadata that makes up most of their bytes. Parameters
have the names and shapes that program_fuzz.cpp answers to. Needs PyTorch; the files are committed,
so running it again is only needed for new seeds.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

CORPUS = Path(__file__).resolve().parent / "corpus" / "program"


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3, bias=False)
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.lin(x) * self.scale, -1)


class Views(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 1].add_(1)
        a, b = y.chunk(2, 1)
        return torch.cat([a.relu_(), b.transpose(0, 1).reshape(x.shape[0], -1)], 1)


class Attention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2) * 0.5 + torch.where(mask, 0.0, -1e9)
        return nn.functional.scaled_dot_product_attention(scores.softmax(-1) @ k, k, k)


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.wte = nn.Embedding(7, 4)

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        y = nn.functional.max_pool2d(nn.functional.hardswish(self.conv(x)), 2)
        with torch.no_grad():
            y = y + self.wte(i).sum(0)[None, :, None, None]
        return nn.functional.interpolate(y, scale_factor=2)


def strip(program: dict[str, Any]) -> dict[str, Any]:
    """Keeps the metadata of the first node only, and of its files the names."""
    first, *others = program["graph_module"]["graph"]["nodes"]
    for node in others:
        node["metadata"] = {}
    metadata = first["metadata"]
    if "stack_trace" in metadata:
        metadata["stack_trace"] = re.sub(r'"[^"]*/([^/"]+)"', r'"\1"', metadata["stack_trace"])
    return program


def save(name: str, program: torch.export.ExportedProgram) -> None:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (model,) = [n for n in archive.namelist() if n.endswith("models/model.json")]
        text = json.dumps(strip(json.loads(archive.read(model))), separators=(",", ":"))
    (CORPUS / name).write_text(text)


def main() -> None:
    CORPUS.mkdir(parents=True, exist_ok=True)
    batch = Dim("batch", min=2, max=8)
    cases: list[tuple[str, nn.Module, tuple[Tensor, ...], Any]] = [
        ("linear", Linear(), (torch.ones(2, 4),), {"x": {0: batch}}),
        ("views", Views(), (torch.ones(2, 4),), None),
        (
            "attention",
            Attention(),
            (torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), torch.ones(5, 5).bool()),
            None,
        ),
        ("convolution", Convolution(), (torch.ones(2, 3, 6, 6), torch.ones(2).long()), None),
    ]
    for name, module, inputs, shapes in cases:
        program = torch.export.export(module.eval(), inputs, dynamic_shapes=shapes)
        save(f"{name}_raw", program)
        save(f"{name}_core", program.run_decompositions())


if __name__ == "__main__":
    main()
