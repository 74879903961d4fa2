"""Exports a model of the zoo with everything that a test of it needs.

    PYTHONPATH=tests python -m models.export tiny_resnet18 --dialect core --dynamic -o out/model.pt2

writes, beside out/model.pt2 (weights of the first seed):
    out/model.in0.npy ...              example inputs
    out/model.seed0.safetensors ...    weights of each seed, by their names in the program
    out/model.seed0.out0.npy ...       PyTorch's outputs with them
    out/model.npz                      inputs and outputs in one file: in0, seed0.out0, ...
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models import zoo


def file_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers for a .safetensors file, which holds no tensor twice: of
    tied parameters it has the first name, as transformers' files do."""
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() == 0 or key not in seen:
            found[name] = tensor.contiguous()
        seen.add(key)
    return found


def write(
    name: str, path: Path, dialect: str, *, dynamic: bool, seeds: list[int], batch: int = 2
) -> None:
    """Writes the files that the module's docstring lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(zoo.export(name, dialect, dynamic=dynamic, seed=seeds[0], batch=batch), path)
    stem = path.with_suffix("")
    inputs = zoo.example_inputs(name, batch)
    arrays = {f"in{i}": tensor.numpy() for i, tensor in enumerate(inputs)}
    for seed in seeds:
        model = zoo.build(name, seed)
        save_file(file_weights(model), f"{stem}.seed{seed}.safetensors")
        for i, tensor in enumerate(zoo.run(model, inputs)):
            arrays[f"seed{seed}.out{i}"] = tensor.numpy()
    for key, array in arrays.items():
        np.save(f"{stem}.{key}.npy", array)
    np.savez(f"{stem}.npz", **arrays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="a model (--list names them)")
    parser.add_argument("--list", action="store_true", help="print the models' names")
    parser.add_argument("--dialect", choices=zoo.DIALECTS, default="raw")
    parser.add_argument("--dynamic", action="store_true", help="free batch, and sequence for text")
    parser.add_argument("--batch", type=int, default=2, help="batch of the example inputs")
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], help="weights; the first are in the program"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.pt2")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(zoo.names()))
        return 0
    if arguments.name not in zoo.names() or arguments.output is None:
        parser.error("want a model's name (--list names them) and -o FILE.pt2")
    start = time.monotonic()
    write(
        arguments.name,
        arguments.output,
        arguments.dialect,
        dynamic=arguments.dynamic,
        seeds=arguments.seed,
        batch=arguments.batch,
    )
    size = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {size:.1f} MB, {time.monotonic() - start:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
