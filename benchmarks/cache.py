"""The engine cache: compiling a program that hits against one that misses.

    .venv/bin/python benchmarks/cache.py --models resnet18 bert_base

The program that hits has other weights than the one that missed; both are checked against PyTorch.
Milliseconds: "torch" is what PyTorch takes to hand an exported program over, which no cache of
plans can spare; "core" is everything else, and the columns behind it are its parts. Writes
out/bench_cache.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench import check
from rich.console import Console
from rich.progress import track
from rich.table import Table

import regraft

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models import zoo  # noqa: E402

COLUMNS = ("torch", "core", "lower", "cache", "compile", "realise")


def compile_once(
    program: torch.export.ExportedProgram, precision: str, folder: str, reuse: bool
) -> tuple[regraft.Engine, dict[str, float]]:
    """An engine, and milliseconds of the whole call and of the core's stages."""
    times = dict.fromkeys(COLUMNS, 0.0)

    def on_event(stage: str, name: str, seconds: float, text: object) -> None:
        if name == "" or stage == "cache":
            times[stage] = times.get(stage, 0.0) + 1e3 * seconds

    start = time.perf_counter()
    engine = regraft.compile(
        program,
        precision=precision,
        cache_built_engines=not reuse,
        reuse_cached_engines=reuse,
        engine_cache_dir=folder,
        progress=on_event,
    )
    whole = 1e3 * (time.perf_counter() - start)
    if engine.from_cache:
        times["cache"] -= times["realise"]  # A hit's time holds it.
    times["core"] = sum(times[stage] for stage in COLUMNS[2:])
    times["torch"] = whole - times["core"]
    return engine, times


def refit_error(engine: regraft.Engine, name: str, seed: int, precision: str) -> float:
    inputs = zoo.example_inputs(name, 2, seed=3)
    return check(name, engine(*inputs), zoo.run(zoo.build(name, seed), inputs), precision)


def rows(name: str, precision: str, repeats: int) -> list[dict[str, Any]]:
    inputs, shapes = zoo.example_inputs(name), zoo.dynamic_shapes(name)
    programs = [zoo.export_model(zoo.build(name, seed), inputs, "raw", shapes) for seed in (0, 1)]
    out = []
    with tempfile.TemporaryDirectory() as folder:
        samples: dict[str, list[dict[str, float]]] = {"miss": [], "hit": []}
        errors = {}
        for _ in range(repeats):
            # The miss always compiles and saves; the hit finds what it saved for other weights.
            for kind, seed in (("miss", 0), ("hit", 1)):
                engine, times = compile_once(programs[seed], precision, folder, kind == "hit")
                if engine.from_cache != (kind == "hit"):
                    raise SystemExit(f"{name} {precision}: want a {kind}")
                if kind not in errors:
                    errors[kind] = refit_error(engine, name, seed, precision)
                samples[kind].append(times)
                del engine
        size = sum(path.stat().st_size for path in Path(folder).glob("*.rgf"))
    for kind, runs in samples.items():
        row: dict[str, Any] = {"model": name, "precision": precision, "kind": kind}
        row |= {key: statistics.median(run[key] for run in runs) for key in COLUMNS}
        row |= {"entry_bytes": size, "error": errors[kind]}
        out.append(row)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["resnet18", "bert_base"])
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    torch.set_num_threads(regraft.thread_count())
    console = Console()
    cases = [(name, precision) for name in args.models for precision in args.precisions]
    table = [
        row
        for name, precision in track(cases, "engine cache", console=console)
        for row in rows(name, precision, args.repeats)
    ]
    show = Table("model", "", *COLUMNS, "KiB", title="engine cache, ms", title_style="")
    for row in table:
        show.add_row(
            f"{row['model']} {row['precision']}",
            row["kind"],
            *(f"{row[key]:.0f}" for key in COLUMNS),
            f"{row['entry_bytes'] / 1024:.0f}",
        )
    console.print(show)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench_cache.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
