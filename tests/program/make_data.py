"""Writes what a torch release exports of one small, hard network: a program per dialect, second
weights, an input, and the outputs with both weights. Run once with each release that is to be read
for ever; the folder is then never written again.

    python tests/program/make_data.py tests/program/data/torch_2.9
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional


class Hard(nn.Module):
    """Batch norm with statistics, tied weights, views of one storage, a transposed parameter,
    buffers of both kinds, an infinity, in-place writes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.embed = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight
        both = torch.randn(2, 8, 8) / 3
        self.first, self.second = nn.Parameter(both[0]), nn.Parameter(both[1])
        self.turned = nn.Parameter((torch.randn(8, 8) / 3).t())
        self.register_buffer("scale", torch.tensor(1.5))
        self.register_buffer("positions", torch.randn(4, 8), persistent=False)

    def forward(self, image: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.norm(self.conv(image)), inplace=True)
        x = functional.dropout(x.mean((2, 3)), training=self.training) * self.scale
        tokens = self.embed(ids) + self.positions + x[:, None]
        q, k = tokens @ self.first, tokens @ self.second
        mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
        weights = (q @ k.transpose(1, 2)).masked_fill(mask, float("-inf")).softmax(-1)
        mixed = weights @ (tokens @ self.turned)
        mixed[:, 0] += 1
        return self.head(mixed), x


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Hard().eval().requires_grad_(False)
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2)
    model.norm.weight.normal_()
    model.norm.bias.normal_()
    return model


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    first, second = build(0), build(1)
    torch.manual_seed(2)
    inputs = (torch.randn(3, 3, 6, 5), torch.randint(0, 11, (3, 4)))
    batch = torch.export.Dim("batch", min=1, max=64)
    # The non-persistent buffer is in no state_dict.
    second.positions = first.positions
    tensors = {"image": inputs[0], "ids": inputs[1]}
    for name, model in (("first", first), ("second", second)):
        logits, pooled = model(*inputs)
        tensors |= {f"{name}.logits": logits, f"{name}.pooled": pooled}
    raw = torch.export.export(first, inputs, dynamic_shapes=({0: batch}, {0: batch}))
    dialects = {
        "raw": raw,
        "functional": raw.run_decompositions({}),
        "core": raw.run_decompositions(),
    }
    for name, program in dialects.items():
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # Paths of the machine.
        torch.export.save(program, folder / f"{name}.pt2")
    save_file(tensors, folder / "expected.safetensors")
    state = {k: v.clone().contiguous() for k, v in second.state_dict().items()}
    save_file(state, folder / "second.safetensors")


if __name__ == "__main__":
    main()
