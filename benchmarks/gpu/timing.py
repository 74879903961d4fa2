"""Time on a GPU, and whether what is timed is right."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence

import cases
import torch
from bench import relative_error

from models import zoo

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LIMIT = {"f32": 1e-4, "f16": 0.02, "bf16": 0.1}


def interleave(
    runs: dict[str, Callable[[], object]], seconds: float, wall: bool = False
) -> dict[str, float]:
    """Median milliseconds of each, taken in turns until `seconds` are spent.

    Of device time for a row of calls, whose enqueuing the device hides; with `wall`, of one call
    from an idle device to an idle device.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = dict.fromkeys(runs, 1)
    for name, run in runs.items():
        for _ in range(5):
            run()
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        # Some milliseconds at a time.
        if not wall:
            calls[name] = max(2, min(20, round(0.02 / (time.perf_counter() - start))))
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
            for _ in range(calls[name]):
                run()
            last.record()
            last.synchronize()
            times[name].append(first.elapsed_time(last) / calls[name])
    return {name: statistics.median(values) for name, values in times.items()}


def check(what: str, have: object, want: Sequence[torch.Tensor], precision: str) -> float:
    """The largest relative error of the outputs; ends the benchmark where it is too large."""
    leaves = torch.utils._pytree.tree_leaves(have)
    error = max(relative_error(h.cpu(), w) for h, w in zip(leaves, want, strict=True))
    if not error <= LIMIT[precision]:
        raise SystemExit(f"{what} {precision}: outputs differ from PyTorch by {error:.2e}")
    return error


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
