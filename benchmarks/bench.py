"""Inference and refit beside PyTorch, interleaved in one run on one machine.

    make bench                                  # everything
    make bench BENCH_FLAGS="--models resnet50 --batch 1 --threads 2"

Every row checks its outputs against PyTorch before it is timed. Writes out/bench.json,
out/bench.md and out/bench.png and prints the tables; ratios are what counts, absolute times vary by
machine.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.export import ExportedProgram

import regraft

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from cpu.peers import PEERS, is_for, peer  # noqa: E402

from models import zoo  # noqa: E402

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
# What an output may differ from PyTorch f32 before a row counts as wrong (relative L2).
LIMIT = {"f32": 1e-4, "f16": 0.02, "bf16": 0.1}
REFIT_MODELS = ("resnet50", "bert_base")


def relative_error(have: torch.Tensor, want: torch.Tensor) -> float:
    return float((have.double() - want.double()).norm() / want.double().norm())


def interleave(
    runs: dict[str, Callable[[], object]], seconds: float, least: int = 5
) -> dict[str, float]:
    """Median milliseconds of each, taken in turns until `seconds` are spent."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < least:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


@functools.lru_cache(maxsize=1)
def exported(name: str) -> tuple[torch.nn.Module, ExportedProgram]:
    model = zoo.build(name, 0)
    example, shapes = zoo.example_inputs(name), zoo.dynamic_shapes(name)
    return model, zoo.export_model(model, example, "raw", shapes)


def frozen(engine: regraft.Engine) -> regraft.Engine:
    """The same engine with weights that cannot be replaced: what refittability costs beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frozen.rgf"
        engine.save(path, immutable=True)
        loaded = regraft.load(path)
    assert isinstance(loaded, regraft.Engine)
    return loaded


def check(what: str, have: object, want: Sequence[torch.Tensor], precision: str) -> float:
    """The largest relative error of the outputs; ends the benchmark where it is too large."""
    leaves = torch.utils._pytree.tree_leaves(have)
    errors = [relative_error(h.cpu(), w) for h, w in zip(leaves, want, strict=True)]
    if not all(error <= LIMIT[precision] for error in errors):
        raise SystemExit(f"{what} {precision}: outputs differ from PyTorch by {max(errors):.2e}")
    return max(errors)


def inference_row(
    name: str, precision: str, batch: int, args: argparse.Namespace
) -> dict[str, Any]:
    model, program = exported(name)
    inputs = zoo.example_inputs(name, batch, seed=3)
    start = time.perf_counter()
    engine = regraft.compile(program, precision=precision, optimum=inputs)
    build_ms = 1e3 * (time.perf_counter() - start)
    immutable = frozen(engine)
    want = zoo.run(model, inputs)
    low = copy.deepcopy(model).to(DTYPES[precision])
    low_inputs = tuple(x.to(DTYPES[precision]) if x.is_floating_point() else x for x in inputs)
    kinds = [kind for kind in args.peers if is_for(kind, name)]
    peers = {kind: peer(kind, low, low_inputs) for kind in kinds}
    for kind, run in peers.items():
        check(f"{name} by {kind}", run(), want, precision)
    have = torch.utils._pytree.tree_leaves(engine(*inputs))
    same = torch.utils._pytree.tree_leaves(immutable(*inputs))
    if not all(torch.equal(h, s) for h, s in zip(have, same, strict=True)):
        raise SystemExit(f"{name} {precision}: the immutable engine answers otherwise")
    error = check(name, have, want, precision)
    times = interleave(
        {
            **peers,
            "regraft": lambda: engine(*inputs),
            "immutable": lambda: immutable(*inputs),
        },
        args.seconds,
    )
    return {
        "model": name,
        "precision": precision,
        "batch": batch,
        "build_ms": build_ms,
        **{f"{kind}_ms": times.get(kind) for kind in args.peers},
        "regraft_ms": times["regraft"],
        "immutable_ms": times["immutable"],
        "ratio": min(times[kind] for kind in kinds) / times["regraft"],
        "error": error,
    }


def refit_row(name: str, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    _, program = exported(name)
    start = time.perf_counter()
    engine = regraft.compile(program, precision=precision)
    build_ms = 1e3 * (time.perf_counter() - start)
    states = [dict(zoo.build(name, seed).state_dict()) for seed in (1, 2)]
    count = sum(t.numel() for t in states[0].values())
    source, target = torch.randn(count), torch.zeros(count)
    step = [0]

    def refit(in_place: bool) -> regraft.RefitReport:
        step[0] += 1
        report: regraft.RefitReport = engine.refit(states[step[0] % 2], in_place=in_place)
        return report

    inputs = zoo.example_inputs(name, 2, seed=3)
    model = zoo.build(name, 1)

    def refit_error(in_place: bool) -> float:
        """Of the values that a refit brings just now."""
        refit(in_place)
        model.load_state_dict(states[step[0] % 2])
        kind = "in place" if in_place else "shadow"
        return check(f"{name} refitted {kind}", engine(*inputs), zoo.run(model, inputs), precision)

    errors = [refit_error(in_place) for in_place in (False, True, False, True)]
    times = interleave(
        {
            "memcpy": lambda: target.copy_(source),
            "shadow": lambda: refit(False),
            "in_place": lambda: refit(True),
        },
        args.seconds,
    )
    errors += [refit_error(in_place) for in_place in (True, False)]
    report = refit(False)
    return {
        "model": name,
        "precision": precision,
        "megabytes": 4e-6 * count,
        "memcpy_ms": times["memcpy"],
        "shadow_ms": times["shadow"],
        "in_place_ms": times["in_place"],
        "shadow_ratio": times["shadow"] / times["memcpy"],
        "in_place_ratio": times["in_place"] / times["memcpy"],
        "gigabytes_per_second": (report.bytes_in + report.bytes_out) / times["shadow"] / 1e6,
        "build_over_refit": build_ms / times["shadow"],
        "memory": {
            key: getattr(report.memory, key)
            for key in ("constants", "previous", "retained", "spare", "sessions")
        },
        "error": max(errors),
    }


def text_of(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def show(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    if not rows:
        return
    table = Table(title=title)
    keys = [key for key in rows[0] if key != "memory"]
    for key in keys:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(text_of(row[k]) for k in keys))
    console.print(table)


def markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """A table for the README: key -> title."""
    lines = ["| " + " | ".join(columns.values()) + " |"]
    lines.append("|" + "".join("---|" if isinstance(rows[0][k], str) else "---:|" for k in columns))
    for row in rows:
        lines.append("| " + " | ".join(text_of(row[k]) for k in columns) + " |")
    return "\n".join(lines)


def inference_columns(peers: Sequence[str]) -> dict[str, str]:
    return {
        "model": "model",
        "precision": "dtype",
        "batch": "batch",
        **{f"{kind}_ms": f"{kind}, ms" for kind in peers},
        "regraft_ms": "Regraft, ms",
        "immutable_ms": "immutable, ms",
        "ratio": "best of PyTorch : Regraft",
    }


REFIT = {
    "model": "model",
    "precision": "dtype",
    "megabytes": "checkpoint, MB",
    "memcpy_ms": "memcpy, ms",
    "shadow_ms": "refit, ms",
    "in_place_ms": "in place, ms",
    "shadow_ratio": "refit : memcpy",
    "in_place_ratio": "in place : memcpy",
    "build_over_refit": "build : refit",
}


def plot(rows: list[dict[str, Any]], peers: Sequence[str], path: Path) -> None:
    """How many times as long PyTorch takes: a row for each case, a mark for each way to run it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2))
    labels = [f"{r['model']} {r['precision']} N={r['batch']}" for r in rows]
    axis.barh(labels, [r["ratio"] for r in rows], color="#dddddd", label="best of PyTorch")
    for kind, mark in zip(peers, "osD^", strict=False):
        times = [r[f"{kind}_ms"] or math.nan for r in rows]  # Not-a-number leaves a mark out.
        ratios = [time / r["regraft_ms"] for time, r in zip(times, rows, strict=True)]
        axis.plot(ratios, labels, mark, markersize=5, label=kind)
    axis.axvline(1.0, color="#cc3311", linewidth=1)
    axis.invert_yaxis()
    axis.legend()
    axis.set_xlabel("time of PyTorch / time of Regraft (more is faster)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "cpu": cpu,
        "isa": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "command": " ".join(sys.argv),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=zoo.names(tiny=False))
    parser.add_argument("--refit-models", nargs="*", default=list(REFIT_MODELS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--precision", nargs="*", default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="per row")
    parser.add_argument("--output", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    regraft.set_thread_count(args.threads)
    console = Console(width=140)
    args.output.mkdir(parents=True, exist_ok=True)
    inference: list[dict[str, Any]] = []
    refit: list[dict[str, Any]] = []
    cases = [(m, p, b) for m in args.models for p in args.precision for b in args.batch]
    for case in track(cases, "inference", console=console):
        inference.append(inference_row(*case, args))
        write(inference, refit, args)
    for model in track(args.refit_models, "refit", console=console):
        refit += [refit_row(model, precision, args) for precision in args.precision]
        write(inference, refit, args)
    show("Inference, median ms", inference, console)
    show("Refit of a float32 checkpoint in memory, median ms", refit, console)
    console.print(machine())


def write(
    inference: list[dict[str, Any]], refit: list[dict[str, Any]], args: argparse.Namespace
) -> None:
    """The rows so far, so that a run that ends early leaves something."""
    result = {"machine": machine(), "inference": inference, "refit": refit}
    (args.output / "bench.json").write_text(json.dumps(result, indent=1))
    tables = [markdown(inference, inference_columns(args.peers))] if inference else []
    tables += [markdown(refit, REFIT)] if refit else []
    (args.output / "bench.md").write_text("\n\n".join(tables) + "\n")
    if inference:
        plot(inference, args.peers, args.output / "bench.png")


if __name__ == "__main__":
    main()
