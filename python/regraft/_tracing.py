"""One thread at a time traces programs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def tracing_lock() -> AbstractContextManager[Any]:
    """Held around whatever PyTorch traces or serialises: meanwhile, it changes classes of the whole
    process. It is the lock that torch.compile holds, which exports may run inside or beside."""
    from torch._dynamo.convert_frame import compile_lock

    lock: AbstractContextManager[Any] = compile_lock
    return lock
