"""Graphs that run in PyTorch, and the warnings about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import fx

from regraft.dynamo.options import Options
from regraft.errors import UnsupportedError

_warned: set[str] = set()


def in_pytorch(graph: fx.GraphModule) -> Callable[..., Any]:
    """Runs the graph in PyTorch."""
    forward: Callable[..., Any] = graph.forward
    return forward


def fall_back(
    graph: fx.GraphModule, error: UnsupportedError, options: Options
) -> Callable[..., Any]:
    """``in_pytorch`` with a warning that says why.

    Raises:
        UnsupportedError: ``error``, where the options want all of a graph in engines.
    """
    if options.require_full_compilation:
        raise error
    warn(f"[dynamo] a graph of torch.compile runs in PyTorch: {error}")
    return in_pytorch(graph)


def warn(message: str) -> None:
    """Warns once per process and text: a graph is compiled again for every new shape."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=3)
