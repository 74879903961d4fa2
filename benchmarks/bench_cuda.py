"""Inference, refits and adapters on an NVIDIA GPU beside PyTorch, interleaved in one run on one
machine.

    make bench-cuda                             # everything; torch.compile's autotuning takes long
    make bench-cuda BENCH_FLAGS="--models resnet50 --batch 1 --peers eager reduce-overhead"

Data and checkpoints lie on the device. Every row checks its outputs against PyTorch before it is
timed. Writes out/bench-cuda.json, .md and .png and prints the tables; ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import torch
from bench import ROOT, machine, markdown, show
from gpu.adapters import adapters_row
from gpu.inference import inference_row
from gpu.peers import PEERS
from gpu.refits import refit_row
from gpu.timing import DTYPES
from rich.console import Console
from rich.progress import Progress
from turns import Row, rows

# The precision that people serve each model in.
MODELS = {
    "resnet18": "f16",
    "resnet50": "f16",
    "bert_base": "f16",
    "vit_b_16": "bf16",
    "gpt2": "bf16",
    "efficientnet_b0": "bf16",
    "mobilenet_v2": "bf16",
    cases.UNET: "bf16",
    cases.DECODER: "bf16",
}
REFITS = {"resnet50": "f16", "bert_base": "bf16", cases.UNET: "bf16"}
ADAPTERS = {cases.UNET: "bf16"}
TITLES = {
    "inference": "Inference, median ms on the device",
    "refit": "New weights from a float32 checkpoint, median ms to an idle device",
    "lora": "Rank-16 adapters on all projections, median ms to an idle device",
}


def plot(found: dict[str, list[Row]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    inference = found["inference"]
    figure, axes = plt.subplots(1, 2, figsize=(13, 0.4 * max(len(inference), 12) + 1.2))
    labels = [f"{r['model']} {r['precision']} N={r['batch']}" for r in inference]
    axes[0].barh(labels, [r["ratio"] for r in inference], color="#4477aa")
    axes[0].axvline(1.0, color="#cc3311", linewidth=1)
    axes[0].invert_yaxis()
    axes[0].set_xlabel("best peer's time / Regraft's (more is faster)")
    bars = [
        (f"{row['model']} {key.removesuffix('_ms')}", row[key])
        for row in (*found["refit"], *found["lora"])
        for key in row
        if key.endswith("_ms")
    ]
    axes[1].barh([name for name, _ in bars], [value for _, value in bars], color="#228833")
    axes[1].set_xscale("log")
    axes[1].invert_yaxis()
    axes[1].set_xlabel("new weights in use after, ms")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def columns_of(row: dict[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        key: key.removesuffix("_ms").replace("_", " ") + (", ms" if key.endswith("_ms") else "")
        for key in row
        if key not in skip
    }


def facts() -> dict[str, Any]:
    return machine() | {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def write(found: dict[str, list[Row]], folder: Path) -> None:
    """What was found so far: a long run that is ended leaves the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": facts(), **found}
    (folder / "bench-cuda.json").write_text(json.dumps(result, indent=1))
    tables = [markdown(table, columns_of(table[0])) for table in found.values() if table]
    (folder / "bench-cuda.md").write_text("\n\n".join(tables) + "\n")
    plot(found, folder / "bench-cuda.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--refit-models", nargs="*", default=list(REFITS), choices=list(REFITS))
    parser.add_argument("--lora-models", nargs="*", default=list(ADAPTERS), choices=list(ADAPTERS))
    parser.add_argument("--batch", nargs="*", type=int, help="only these of each model's sizes")
    parser.add_argument("--precision", choices=list(DTYPES), help="of all models")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--seconds", type=float, default=3.0, help="per row")
    parser.add_argument("--jobs", type=int, default=1, help="rows that are made ready side by side")
    parser.add_argument(
        "--patience", type=float, help="seconds after which rows that are not ready are given up"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU here")
    sizes = {size for name in args.models for size in cases.batches(name)}
    if args.batch and not sizes.issuperset(args.batch):
        parser.error(f"--batch: want some of {sorted(sizes)}, have {args.batch}")
    of = args.precision
    parts: dict[str, tuple[Callable[..., Row], list[tuple[Any, ...]]]] = {
        "inference": (
            inference_row,
            [
                (name, of or MODELS[name], batch, args)
                for name in args.models
                for batch in cases.batches(name)
                if not args.batch or batch in args.batch
            ],
        ),
        "refit": (refit_row, [(name, of or REFITS[name], args) for name in args.refit_models]),
        "lora": (adapters_row, [(name, of or ADAPTERS[name], args) for name in args.lora_models]),
    }
    console = Console(width=200)
    found: dict[str, list[Row]] = {part: [] for part in parts}
    problems: list[str] = []
    with Progress(console=console) as progress:
        for part, (make, of_part) in parts.items():
            task = progress.add_task(part, total=len(of_part))
            made: dict[int, Row] = {}
            for number, row in rows(make, of_part, args.jobs, problems, args.patience):
                made[number] = row
                found[part] = [row for _, row in sorted(made.items())]
                write(found, args.output)
                progress.advance(task)
    for part, table in found.items():
        show(TITLES[part], table, console)
    console.print(facts())
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
