"""Inference and refit on an NVIDIA GPU beside PyTorch, interleaved in one run on one machine.

    make bench-cuda                             # everything; torch.compile's autotuning takes long
    make bench-cuda BENCH_FLAGS="--models resnet50 --batch 1 --peers eager reduce-overhead"

Data and checkpoints lie on the device. Every row checks its outputs against PyTorch before it is
timed. Writes out/bench-cuda.json, .md and .png and prints the tables; ratios are what counts.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from bench import ROOT, machine, markdown, relative_error, show
from rich.console import Console
from rich.progress import Progress
from turns import Turns, rows

import regraft
from models import zoo

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LIMIT = {"f32": 1e-4, "f16": 0.02, "bf16": 0.1}
# The precision that people serve each model in.
CASES = {
    "resnet18": "f16",
    "resnet50": "f16",
    "bert_base": "f16",
    "vit_b_16": "bf16",
    "gpt2": "bf16",
    "efficientnet_b0": "bf16",
    "mobilenet_v2": "bf16",
}
REFITS = {"resnet50": "f16", "bert_base": "bf16"}
PEERS = ("eager", "reduce-overhead", "max-autotune", "aoti")
SEQUENCE = {"gpt2": 256}


def interleave(
    runs: dict[str, Callable[[], object]], seconds: float, wall: bool = False
) -> dict[str, float]:
    """Median milliseconds of each, taken in turns until `seconds` are spent.

    Of device time for a row of calls, whose enqueuing the device hides; with `wall`, of one call
    from an idle device to an idle device.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = 1 if wall else 20
    for run in runs.values():
        for _ in range(10):
            run()
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            if wall:
                start = time.perf_counter()
                run()
                torch.cuda.synchronize()
                times[name].append(1e3 * (time.perf_counter() - start))
                continue
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(calls):
                run()
            last.record()
            last.synchronize()
            times[name].append(first.elapsed_time(last) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def check(what: str, have: object, want: Sequence[torch.Tensor], precision: str) -> float:
    """The largest relative error of the outputs; ends the benchmark where it is too large."""
    leaves = torch.utils._pytree.tree_leaves(have)
    error = max(relative_error(h.cpu(), w) for h, w in zip(leaves, want, strict=True))
    if not error <= LIMIT[precision]:
        raise SystemExit(f"{what} {precision}: outputs differ from PyTorch by {error:.2e}")
    return error


def low(model: torch.nn.Module, name: str, precision: str) -> torch.nn.Module:
    """The model as PyTorch runs it fastest."""
    out = copy.deepcopy(model).cuda().to(DTYPES[precision])
    return out if zoo.is_text(name) else out.to(memory_format=torch.channels_last)


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


def program_of(name: str, batch: int) -> tuple[torch.nn.Module, Any, tuple[Any, ...]]:
    model = zoo.build(name, 0)
    inputs = zoo.example_inputs(name, batch, seed=3, sequence=SEQUENCE.get(name))
    return model, zoo.export_model(model, inputs, "raw", None), inputs


def inference_row(name: str, batch: int, args: argparse.Namespace, turns: Turns) -> dict[str, Any]:
    precision = args.precision or CASES[name]
    model, program, inputs = program_of(name, batch)
    want = zoo.run(model, inputs)
    with turns.tuning():
        start = time.perf_counter()
        engine = regraft.compile(program, backend="cuda", precision=precision)
        build_ms = 1e3 * (time.perf_counter() - start)
    given = tuple(x.cuda() for x in inputs)
    # Both sides take the inputs that they would be served with.
    theirs = tuple(x.to(DTYPES[precision]) if x.is_floating_point() else x for x in given)
    error = check(name, engine(*given), want, precision)
    runs: dict[str, Callable[[], object]] = {"regraft": functools.partial(engine, *given)}
    with torch.no_grad():
        for kind in args.peers:
            run = peer(kind, low(model, name, precision), theirs)
            with turns.tuning() if kind == "max-autotune" else nullcontext():
                check(f"{name} by {kind}", run(*theirs), want, precision)
            runs[kind] = functools.partial(run, *theirs)
        with turns.timing():
            times = interleave(runs, args.seconds)
    row: dict[str, Any] = {"model": name, "precision": precision, "batch": batch}
    row["build_ms"] = build_ms
    row |= {f"{kind}_ms": times[kind] for kind in (*args.peers, "regraft")}
    row["ratio"] = min(times[kind] for kind in args.peers) / times["regraft"]
    row["error"] = error
    return row


def constants_of(path: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict by the names of an AOTInductor package."""
    names = set(path.get_constant_fqns())
    return {name: tensor for name, tensor in state.items() if name in names}


def refit_row(name: str, precision: str, args: argparse.Namespace, turns: Turns) -> dict[str, Any]:
    model, program, inputs = program_of(name, 1)
    start = time.perf_counter()
    engine = regraft.compile(program, backend="cuda", precision=precision, retain="none")
    build_ms = 1e3 * (time.perf_counter() - start)
    other = zoo.build(name, 1).cuda()
    state = {k: v.detach() for k, v in other.named_parameters(remove_duplicate=False)}
    state |= dict(other.named_buffers(remove_duplicate=False))
    count = sum({t.data_ptr(): t.nbytes for t in state.values()}.values())
    source = torch.empty(count, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    served = low(model, name, precision)
    mine = {**dict(served.named_parameters()), **dict(served.named_buffers())}
    pairs = [(mine[key], state[key]) for key in mine]
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
        with torch.cuda.graph(graph):
            torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
    pageable = {key: tensor.cpu() for key, tensor in state.items()}
    pinned = {key: tensor.pin_memory() for key, tensor in pageable.items()}
    want = zoo.run(zoo.build(name, 1), inputs)
    given = tuple(x.cuda() for x in inputs)
    theirs = tuple(x.to(DTYPES[precision]) if x.is_floating_point() else x for x in given)
    shadow, in_place = engine.refitter(other), engine.refitter(other, in_place=True)
    runs: dict[str, Callable[[], object]] = {
        "device_copy": lambda: target.copy_(source),
        "load_state_dict": lambda: served.load_state_dict(state, strict=False),
        "foreach_graph": graph.replay,
        "refit": lambda: engine.refit(state),
        "refitter": shadow,
        "in_place": in_place,
        "pinned": lambda: engine.refit(pinned),
        "pageable": lambda: engine.refit(pageable),
        "to_pinned": lambda: [t.to("cuda", non_blocking=True) for t in pinned.values()],
        "to_pageable": lambda: [t.to("cuda") for t in pageable.values()],
    }
    loads: tuple[str, ...] = ()
    if "aoti" in args.peers:
        package = peer("aoti", served, theirs)
        # Constants of a package are those of the module that was compiled: converted beforehand.
        converted = {
            k: v.to(DTYPES[precision]) if v.is_floating_point() else v for k, v in state.items()
        }
        constants = constants_of(package, converted)
        load = package.load_constants  # type: ignore[attr-defined]
        loads = ("load_constants", "load_constants_managed")
        runs[loads[0]] = lambda: load(constants, check_full_update=False)
        runs[loads[1]] = lambda: load(constants, check_full_update=False, user_managed=True)
    errors = []
    for kind in ("refit", "refitter", "in_place", "pinned", "pageable"):
        engine.refit(model)
        runs[kind]()
        errors.append(check(f"{name} after {kind}", engine(*given), want, precision))
    with torch.no_grad():
        for kind in ("load_state_dict", "foreach_graph"):
            for parameter in served.parameters():
                parameter.zero_()
            runs[kind]()
            check(f"{name} after {kind}", served(*theirs), want, precision)
    for kind in loads:
        load({k: torch.zeros_like(v) for k, v in constants.items()}, check_full_update=False)
        runs[kind]()
        check(f"{name} after {kind}", package(*theirs), want, precision)
    with turns.timing():
        times = interleave(runs, args.seconds * 2, wall=True)
        report = in_place()
    row: dict[str, Any] = {"model": name, "precision": precision, "megabytes": 1e-6 * count}
    row |= {f"{kind}_ms": value for kind, value in times.items()}
    row["evaluate_ms"] = report.evaluate_ms
    row["build_over_refit"] = build_ms / times["refitter"]
    row["error"] = max(errors)
    return row


def plot(inference: list[dict[str, Any]], refit: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 0.4 * max(len(inference), 12) + 1.2))
    labels = [f"{r['model']} {r['precision']} N={r['batch']}" for r in inference]
    axes[0].barh(labels, [r["ratio"] for r in inference], color="#4477aa")
    axes[0].axvline(1.0, color="#cc3311", linewidth=1)
    axes[0].invert_yaxis()
    axes[0].set_xlabel("best peer's time / Regraft's (more is faster)")
    bars = [
        (f"{row['model']} {key.removesuffix('_ms')}", row[key])
        for row in refit
        for key in row
        if key.endswith("_ms")
    ]
    axes[1].barh([name for name, _ in bars], [value for _, value in bars], color="#228833")
    axes[1].set_xscale("log")
    axes[1].invert_yaxis()
    axes[1].set_xlabel("new weights in use after, ms")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def columns_of(row: dict[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        key: key.removesuffix("_ms").replace("_", " ") + (", ms" if key.endswith("_ms") else "")
        for key in row
        if key not in skip
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(CASES))
    parser.add_argument("--refit-models", nargs="*", default=list(REFITS))
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 32])
    parser.add_argument("--precision", choices=list(DTYPES), help="of all models")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--seconds", type=float, default=3.0, help="per row")
    parser.add_argument("--jobs", type=int, default=1, help="rows that are made ready side by side")
    parser.add_argument("--output", type=Path, default=ROOT / "out")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU here")
    console = Console(width=200)
    cases = [(m, b, args) for m in args.models for b in args.batch]
    refits = [(m, args.precision or REFITS[m], args) for m in args.refit_models]
    inference: list[dict[str, Any]] = []
    refit: list[dict[str, Any]] = []
    with Progress(console=console) as progress:
        for title, make, of, found in (
            ("inference", inference_row, cases, inference),
            ("refit", refit_row, refits, refit),
        ):
            task = progress.add_task(title, total=len(of))
            for made in rows(make, of, args.jobs):
                found += made
                progress.advance(task, len(made))
    show("Inference, median ms on the device", inference, console)
    show("New weights from a float32 checkpoint, median ms to an idle device", refit, console)
    args.output.mkdir(parents=True, exist_ok=True)
    facts = machine() | {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    result = {"machine": facts, "inference": inference, "refit": refit}
    (args.output / "bench-cuda.json").write_text(json.dumps(result, indent=1))
    tables = [markdown(table, columns_of(table[0])) for table in (inference, refit) if table]
    (args.output / "bench-cuda.md").write_text("\n\n".join(tables) + "\n")
    plot(inference, refit, args.output / "bench-cuda.png")
    console.print(facts)


if __name__ == "__main__":
    main()
