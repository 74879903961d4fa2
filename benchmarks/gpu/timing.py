"""Time on a GPU, and what is timed there."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import cases
import torch

from models import zoo

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def interleave(
    runs: dict[str, Callable[[], object]], seconds: float, wall: bool = False
) -> dict[str, float]:
    """Median milliseconds of each, taken in turns of some calls until `seconds` are spent.

    Of device time for a row of calls, whose enqueuing the device hides; with `wall`, of every call
    by itself, from an idle device to an idle device, but for the first of a turn: that one pays for
    the caches that others have left.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = {name: calls_in_turn(run, wall) for name, run in runs.items()}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            if wall:
                times[name] += [wall_time(run) for _ in range(calls[name])][1:]
            else:
                times[name].append(device_time(run, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def calls_in_turn(run: Callable[[], object], wall: bool) -> int:
    """Some milliseconds of them, after a few that nobody times."""
    for _ in range(5):
        run()
    once = 1e-3 * wall_time(run)
    return max(2, min(10, round(0.005 / once))) if wall else max(2, min(20, round(0.02 / once)))


def wall_time(run: Callable[[], object]) -> float:
    """Milliseconds of one call, from an idle device to an idle device."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def device_time(run: Callable[[], object], calls: int) -> float:
    """Milliseconds of device time of each of a row of calls."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        run()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / calls


def truth(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Outputs of PyTorch in f32, without TF32. Moves the model to the GPU, where this takes
    milliseconds."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs = zoo.run(model.cuda(), tuple(x.cuda() for x in inputs))
    return tuple(x.cpu() for x in outputs)


def low(model: torch.nn.Module, name: str, precision: str) -> torch.nn.Module:
    """The model as PyTorch runs it fastest."""
    out = copy.deepcopy(model).cuda().to(DTYPES[precision])
    return out if cases.is_text(name) else out.to(memory_format=torch.channels_last)


def placed(inputs: tuple[torch.Tensor, ...], precision: str) -> tuple[torch.Tensor, ...]:
    """On the GPU, in the dtype that a model of this precision is served with."""
    return tuple(
        x.cuda().to(DTYPES[precision]) if x.is_floating_point() else x.cuda() for x in inputs
    )
