"""Rows of a GPU benchmark: made ready side by side, since compilers keep one core busy each, and
timed one after another."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Lock
from queue import Empty
from threading import BrokenBarrierError
from typing import Any

Row = dict[str, Any]


class Turns:
    """A row's view of the others that run beside it.

    `patience`: the seconds that the first to be ready waits for the others; None: for ever.
    """

    def __init__(self, device: Lock, all_ready: Barrier, patience: float | None = None) -> None:
        self._device = device
        self._all_ready = all_ready
        self._patience = patience
        self._is_ready = False

    def get_ready(self) -> None:
        """Waits until every row is or patience ends; a row that fails does, too."""
        if not self._is_ready:
            self._is_ready = True
            # Who comes after patience ended finds a broken barrier, and waits for nobody.
            with suppress(BrokenBarrierError):
                self._all_ready.wait(self._patience)

    def tuning(self) -> AbstractContextManager[object]:
        """For what times kernels to choose them: one row at a time."""
        return self._device

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Begins when the others are ready; the device is then this row's alone, but for what those
        do that patience did not wait for."""
        self.get_ready()
        with self._device:
            yield


def rows(
    make: Callable[..., Row],
    cases: Sequence[tuple[Any, ...]],
    jobs: int,
    problems: list[str],
    patience: float | None = None,
) -> Iterator[tuple[int, Row]]:
    """`make(*case, turns)` of every case in a process of its own, `jobs` of them side by side.

    Yields the numbers of cases and their rows as they come. What failed is added to `problems`.

    Raises:
        SystemExit: A process died; the others of its group are ended.
    """
    context = multiprocessing.get_context("spawn")
    for setting in ("TORCHINDUCTOR_COMPILE_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(setting, str(1 + (os.cpu_count() or 1) // jobs))
    for first in range(0, len(cases), jobs):
        group = cases[first : first + jobs]
        done: Queue[tuple[int, Row | str]] = context.Queue()
        device, all_ready = context.Lock(), context.Barrier(len(group))
        processes = [
            context.Process(target=_work, args=(make, i, case, device, all_ready, patience, done))
            for i, case in enumerate(group)
        ]
        for process in processes:
            process.start()
        left = len(group)
        try:
            for _ in group:
                index, result = _next(done, processes)
                left -= 1
                if isinstance(result, str):
                    problems.append(f"{group[index]}: {result}")
                else:
                    yield first + index, result
        finally:
            for process in processes:
                if left > 0:
                    process.terminate()
                process.join()


def _next(
    done: Queue[tuple[int, Row | str]], processes: Sequence[BaseProcess]
) -> tuple[int, Row | str]:
    while True:
        try:
            return done.get(timeout=1)
        except Empty:
            for process in processes:
                if process.exitcode:
                    raise SystemExit(f"a row ended with exit code {process.exitcode}") from None


def _work(
    make: Callable[..., Row],
    index: int,
    case: tuple[Any, ...],
    device: Lock,
    all_ready: Barrier,
    patience: float | None,
    done: Queue[tuple[int, Row | str]],
) -> None:
    turns = Turns(device, all_ready, patience)
    try:
        done.put((index, make(*case, turns)))
    except BaseException as error:
        done.put((index, str(error) if isinstance(error, SystemExit) else traceback.format_exc()))
        turns.get_ready()
