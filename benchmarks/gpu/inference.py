"""One model at one batch size beside PyTorch."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import cases
import torch
from bench import check
from gpu.peers import peer
from gpu.timing import interleave, low, placed, truth
from turns import Turns

import regraft
from models import zoo


def inference_row(
    name: str, precision: str, batch: int, args: argparse.Namespace, turns: Turns
) -> dict[str, Any]:
    """Medians of a call, with data on the device. All run the same program on the same inputs."""
    model, inputs = cases.build(name, 0), cases.example_inputs(name, batch)
    want = truth(model, inputs)
    served, given = low(model, name, precision), placed(inputs, precision)
    del model
    program = zoo.export_model(served, given, "raw", None)
    with turns.tuning():
        start = time.perf_counter()
        engine = regraft.compile(program, backend="cuda", precision=precision)
        build_ms = 1e3 * (time.perf_counter() - start)
    error = check(name, engine(*given), want, precision)
    runs: dict[str, Callable[[], object]] = {"regraft": functools.partial(engine, *given)}
    with torch.no_grad():
        for kind in args.peers:
            run = peer(kind, served, given)
            # Inductor, too, times kernels, but takes the least of many times of each, which other
            # rows hardly disturb.
            check(f"{name} by {kind}", run(*given), want, precision)
            runs[kind] = functools.partial(run, *given)
        turns.take_device()
        times = interleave(runs, args.seconds)
    row: dict[str, Any] = {"model": name, "precision": precision, "batch": batch}
    row["build_ms"] = build_ms
    row |= {f"{kind}_ms": times[kind] for kind in (*args.peers, "regraft")}
    row["ratio"] = min(times[kind] for kind in args.peers) / times["regraft"]
    row["error"] = error
    return row
