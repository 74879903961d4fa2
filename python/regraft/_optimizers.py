"""Steps of optimizers count up the versions of the weights they wrote.

The fused implementations of ``torch.optim`` and optimizers with kernels of their own write without
PyTorch noticing.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

_lock = threading.Lock()
_installed = False


def watch_optimizers() -> None:
    """Makes every ``torch.optim.Optimizer`` of the process count versions; idempotent."""
    global _installed
    with _lock:
        if not _installed:
            register_optimizer_step_post_hook(_count)
            _installed = True


def _count(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    # PyTorch's own optimizers skip parameters without a gradient; of others nobody knows.
    own = type(optimizer).__module__.startswith("torch.optim.")
    written = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if not (own and parameter.grad is None) and not parameter.is_inference()
    ]
    torch.autograd.graph.increment_version(written)
