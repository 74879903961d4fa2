"""Compiles a randomly initialised ResNet-18, saves, loads and refits it; checks every output
against PyTorch; then does the same through the command line. `make demo` runs it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

import regraft

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models import zoo  # noqa: E402

CLI = ROOT / "build" / "release" / "regraft"
TOLERANCE = 1e-5


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = run()
    return result, 1e3 * (time.perf_counter() - start)


def median_ms(run: Callable[[], Any], rounds: int = 20) -> float:
    run()
    return statistics.median(timed(run)[1] for _ in range(rounds))


def check(what: str, have: torch.Tensor, want: torch.Tensor) -> None:
    error = float((have.double() - want.double()).norm() / want.double().norm())
    if not error <= TOLERANCE:
        raise SystemExit(f"{what}: relative error {error:.2e} to PyTorch, allowed {TOLERANCE:.0e}")


def python_demo(folder: Path, x: torch.Tensor, models: list[torch.nn.Module]) -> list[list[str]]:
    first, second = models
    program = zoo.export_model(first, (x,), "raw")
    engine, build_ms = timed(lambda: regraft.compile(program, name="resnet18"))
    check("built engine", engine(x), zoo.run(first, (x,))[0])
    _, save_ms = timed(lambda: engine.save(folder / "resnet18.rgf"))
    engine, load_ms = timed(lambda: regraft.load(folder / "resnet18.rgf"))
    check("loaded engine", engine(x), zoo.run(first, (x,))[0])
    states = [model.state_dict() for model in (second, first)]
    engine.refit(states[0])
    check("refitted engine", engine(x), zoo.run(second, (x,))[0])
    reports = [engine.refit(states[i % 2]) for i in range(1, 12)]
    check("engine refitted back", engine(x), zoo.run(first, (x,))[0])
    refit_ms = statistics.median(r.total_ms for r in reports[2:])
    with torch.inference_mode():
        eager_ms = median_ms(lambda: first(x))
    speed = (reports[-1].bytes_in + reports[-1].bytes_out) / refit_ms / 1e6
    return [
        ["build", f"{build_ms:.0f}", ""],
        ["save", f"{save_ms:.1f}", ""],
        ["load", f"{load_ms:.1f}", ""],
        ["inference", f"{median_ms(lambda: engine(x)):.2f}", f"PyTorch eager {eager_ms:.2f} ms"],
        [
            "refit",
            f"{refit_ms:.2f}",
            f"{speed:.1f} GB/s, {build_ms / refit_ms:.0f}x faster than build",
        ],
    ]


def cli_demo(folder: Path, x: torch.Tensor, models: list[torch.nn.Module]) -> list[list[str]]:
    first, second = models
    torch.export.save(zoo.export_model(first, (x,), "raw"), folder / "cli.pt2")
    save_file({k: v.contiguous() for k, v in second.state_dict().items()}, folder / "b.safetensors")
    np.save(folder / "x.npy", x.numpy())
    calls = [
        ("compile", ["cli.pt2", "-o", "a.rgf", "--backend", "cpu"]),
        ("run", ["a.rgf", "--input", "x.npy", "--output", "a.npy"]),
        ("refit", ["a.rgf", "--weights", "b.safetensors", "-o", "b.rgf"]),
        ("run", ["b.rgf", "--input", "x.npy", "--output", "b.npy"]),
    ]
    rows = []
    for verb, arguments in calls:
        run = subprocess.run([CLI, verb, *arguments], cwd=folder, capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"regraft {verb} failed:\n{run.stderr}")
        rows.append([f"regraft {verb}", "", " ".join(arguments)])
    for file, model in (("a.npy", first), ("b.npy", second)):
        check(
            f"command line, {file}",
            torch.from_numpy(np.load(folder / file)),
            zoo.run(model, (x,))[0],
        )
    return rows


def main() -> None:
    models = [zoo.build("resnet18", seed) for seed in (0, 1)]
    (x,) = zoo.example_inputs("resnet18", 1)
    table = Table(title="ResNet-18, f32, batch 1, cpu backend")
    table.add_column("step")
    table.add_column("ms", justify="right")
    table.add_column("")
    with tempfile.TemporaryDirectory() as folder:
        for row in python_demo(Path(folder), x, models) + cli_demo(Path(folder), x, models):
            table.add_row(*row)
    Console().print(table)
    print("Every output agreed with PyTorch.")


if __name__ == "__main__":
    main()
