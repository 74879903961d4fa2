"""Many calls at once, or one refit in place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from regraft.errors import StateError


class Gate:
    """Calls enter and leave; `exclusive` waits for them and keeps new ones out. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._waiting = 0

    def enter(self) -> None:
        """Waits while somebody is, or waits to be, alone inside."""
        with self._condition:
            while self._waiting:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        with self._condition:
            self._inside -= 1
            if self._inside == 0 and self._waiting:
                self._condition.notify_all()

    @contextmanager
    def exclusive(self, seconds: float) -> Iterator[None]:
        """Alone inside.

        Raises:
            StateError: Calls did not end within `seconds`.
        """
        end = time.monotonic() + seconds
        with self._condition:
            self._waiting += 1
            try:
                while self._inside:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise StateError(f"[refit] running calls did not end within {seconds} s")
                    self._condition.wait(left)
                yield
            finally:
                self._waiting -= 1
                self._condition.notify_all()
