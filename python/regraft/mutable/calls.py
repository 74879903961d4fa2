"""How a module is called: which calls one program can answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.export import Dim
from torch.utils import _pytree as pytree

from regraft._autocast import autocast_dtypes

Shape: TypeAlias = tuple[int, ...]
# Of each leaf that is a tensor, the dims that may differ.
FreeDims: TypeAlias = tuple[frozenset[int], ...]


@dataclass(frozen=True)
class CallKind:
    """All of a call but sizes and values of tensors: structure, dtypes, ranks, other leaves.

    Programs are made for one kind of call: numbers, strings and None are part of them. The last
    leaves are the dtypes of the autocast around the call, if there is one.
    """

    spec: str
    leaves: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """One call, its tensors told by dtype and sizes alone."""

    kind: CallKind
    shapes: tuple[Shape, ...]


def describe(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """The kind and the sizes of a call; the order of keyword arguments does not matter."""
    leaves, spec = pytree.tree_flatten((args, {name: kwargs[name] for name in sorted(kwargs)}))
    shapes = tuple(tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor))
    autocast = (("autocast", *dtypes) for dtypes in autocast_dtypes())
    return Call(CallKind(repr(spec), (*map(_leaf, leaves), *autocast)), shapes)


def _leaf(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return "tensor", str(leaf.dtype), leaf.dim()
    return type(leaf).__name__, repr(leaf)


def differing(a: Call, b: Call) -> FreeDims:
    """The dims of the tensors in which two calls of one kind differ."""
    return tuple(
        frozenset(dim for dim, (m, n) in enumerate(zip(p, q, strict=True)) if m != n)
        for p, q in zip(a.shapes, b.shapes, strict=True)
    )


def joined(a: FreeDims | None, b: FreeDims) -> FreeDims:
    """The dims that are free in either."""
    return b if a is None else tuple(x | y for x, y in zip(a, b, strict=True))


def free_shapes(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], free: FreeDims
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`dynamic_shapes` for positional and keyword arguments that leave these dims free."""
    leaves, spec = pytree.tree_flatten((args, dict(sorted(kwargs.items()))))
    dims = iter(free)
    shapes = [
        dict.fromkeys(sorted(next(dims)), Dim.AUTO) if isinstance(leaf, torch.Tensor) else None
        for leaf in leaves
    ]
    positional, by_name = pytree.tree_unflatten(shapes, spec)
    return positional, by_name
