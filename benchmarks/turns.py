"""Rows of a GPU benchmark: made ready side by side, since compilers keep one core busy each, and
timed one after another."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event, Lock
from queue import Empty
from typing import Any

Row = dict[str, Any]


class Turns:
    """A row's view of the others that run beside it."""

    def __init__(
        self, tuner: Lock, device: Lock, say_ready: Callable[[], None], begin: Event
    ) -> None:
        self._tuner = tuner
        self._device = device
        self._say_ready = say_ready
        self._begin = begin
        self._has_device = False

    def tuning(self) -> AbstractContextManager[object]:
        """For what times kernels to choose them: one row at a time."""
        return self._tuner

    def take_device(self) -> None:
        """Waits until no row of the group gets ready any more and the device is this row's alone,
        until the row is there."""
        self._say_ready()
        self._begin.wait()
        self._device.acquire()
        self._has_device = True

    def end(self) -> None:
        if self._has_device:
            self._device.release()


class _Group:
    """Processes of rows that are made ready side by side."""

    def __init__(self, make: Callable[..., Row], cases: Sequence[tuple[Any, ...]]) -> None:
        context = multiprocessing.get_context("spawn")
        # Of a row: its number, and itself, what went wrong, or nothing when it is ready.
        self.news: Queue[tuple[int, Row | str | None]] = context.Queue()
        self.begin = context.Event()
        # Who is given up may hold the first, for which only others that are not ready wait.
        self._locks = context.Lock(), context.Lock()
        shared = (*self._locks, self.begin, self.news)
        self.processes: list[BaseProcess] = [
            context.Process(target=_work, args=(make, i, case, *shared))
            for i, case in enumerate(cases)
        ]
        for process in self.processes:
            process.start()
        self.running = set(range(len(cases)))
        self.unready = set(self.running)

    def next(self, end: float | None) -> tuple[int, Row | str]:
        """The next row that is there, or what went wrong. Behind `end`, a time, rows that are not
        ready are given up.

        Raises:
            SystemExit: A process died.
        """
        while True:
            if not self.unready:
                self.begin.set()
            elif end is not None and time.monotonic() > end:
                late = self.unready.pop()
                self.running.discard(late)
                self.processes[late].terminate()
                return late, "was not ready in time"
            try:
                index, result = self.news.get(timeout=1)
            except Empty:
                if any(self.processes[i].exitcode for i in self.running):
                    raise SystemExit("a row's process died") from None
                continue
            if index in self.running:
                self.unready.discard(index)
                if result is not None:
                    self.running.discard(index)
                    return index, result

    def end(self) -> None:
        for process in self.processes:
            if process.exitcode is None and self.running:
                process.terminate()
            process.join()


def rows(
    make: Callable[..., Row],
    cases: Sequence[tuple[Any, ...]],
    jobs: int,
    problems: list[str],
    patience: float | None = None,
) -> Iterator[tuple[int, Row]]:
    """`make(*case, turns)` of every case in a process of its own, `jobs` of them side by side.

    Yields the numbers of cases and their rows as they come. What failed is added to `problems`, and
    so is what was not ready after `patience` seconds, for which the others do not wait.

    Raises:
        SystemExit: A process died; the others of its group are ended.
    """
    for setting in ("TORCHINDUCTOR_COMPILE_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(setting, str(1 + (os.cpu_count() or 1) // jobs))
    for first in range(0, len(cases), jobs):
        of_group = cases[first : first + jobs]
        end = None if patience is None else time.monotonic() + patience
        group = _Group(make, of_group)
        try:
            for _ in of_group:
                index, result = group.next(end)
                if isinstance(result, str):
                    problems.append(f"{of_group[index]}: {result}")
                else:
                    yield first + index, result
        finally:
            group.end()


def _work(
    make: Callable[..., Row],
    index: int,
    case: tuple[Any, ...],
    tuner: Lock,
    device: Lock,
    begin: Event,
    news: Queue[tuple[int, Row | str | None]],
) -> None:
    turns = Turns(tuner, device, lambda: news.put((index, None)), begin)
    try:
        news.put((index, make(*case, turns)))
    except BaseException as error:
        news.put((index, str(error) if isinstance(error, SystemExit) else traceback.format_exc()))
    finally:
        turns.end()
