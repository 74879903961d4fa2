"""What it costs to ask, before every call, whether weights changed.

    PYTHONPATH=build/dev/python python benchmarks/tracking.py

Checks that every way of asking finds a change before it is timed. Exits with 1 when version
tracking of 200 parameters takes 50 microseconds or more.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from regraft.tracking import WeightTracker

LIMIT_US = 50.0


def least_us(ask: Callable[[], object], seconds: float = 0.5) -> tuple[float, float]:
    """Least and median microseconds of one call; the least is what a busy machine cannot blur."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        start = time.perf_counter()
        ask()
        times.append(1e6 * (time.perf_counter() - start))
    return min(times), statistics.median(times)


def checked(tensors: list[torch.Tensor], track: str) -> WeightTracker:
    """A tracker that has just shown that it sees one element change."""
    names = [f"weight{i}" for i in range(len(tensors))]
    tracker = WeightTracker(names, tensors, track)
    assert tracker.changed() == [], "a change that was none"
    with torch.no_grad():
        tensors[-1].view(-1)[0] += 1
    if track == "none":
        tracker.notify(names[-1:])
    found = tracker.changed()
    assert found == names[-1:], f"want {names[-1:]}, have {found}"
    tracker.accept()
    return tracker


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a weight")
    size = parser.parse_args().size
    table = Table("parameters", "MB", "track", "least us", "median us")
    slow = False
    for count in (20, 200, 2000):
        tensors: list[torch.Tensor] = [nn.Parameter(torch.randn(size, size)) for _ in range(count)]
        for track in ("none", "version", "digest"):
            tracker = checked(tensors, track)
            least, median = least_us(functools.partial(tracker.changed, tensors))
            slow |= count == 200 and track == "version" and least >= LIMIT_US
            megabytes = f"{count * size * size * 4 / 1e6:.0f}"
            table.add_row(str(count), megabytes, track, f"{least:.1f}", f"{median:.1f}")
    Console().print(table)
    if slow:
        print(f"version tracking of 200 parameters: want under {LIMIT_US} us", file=sys.stderr)
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
