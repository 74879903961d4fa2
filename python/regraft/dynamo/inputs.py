"""What the inputs of a graph of torch.compile are: weights, tensors of the call, sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from regraft.errors import UnsupportedError

# The keys in a source such as L['self']._modules['a']._parameters['weight'], and attributes.
_STEP = re.compile(r"\['([^']*)'\]|\.([A-Za-z_]\w*)")
_TABLES = ("_modules", "_parameters", "_buffers")


@dataclass(frozen=True)
class Weight:
    """A parameter, buffer or tensor attribute of a module; `at` is its place among the inputs."""

    name: str
    at: int


@dataclass(frozen=True)
class Activation:
    """A tensor of the call; `free` are the dims whose size may differ between calls."""

    at: int
    free: tuple[int, ...]


@dataclass(frozen=True)
class Size:
    """An integer of the call. `source` and `dim`: the activation that has this size; when no
    activation has it, `source` is None."""

    at: int
    source: int | None
    dim: int


@dataclass(frozen=True)
class Inputs:
    """The inputs of a graph, sorted out.

    Attributes:
        symbols: Symbol -> (place among the inputs, dim), or (place, None) for an integer.
    """

    weights: tuple[Weight, ...]
    activations: tuple[Activation, ...]
    sizes: tuple[Size, ...]
    symbols: dict[Any, tuple[int, int | None]]


def example(node: fx.Node) -> Any:
    """The fake value that torch.compile traced a node with."""
    return node.meta.get("example_value")


def sort_inputs(graph: fx.Graph) -> Inputs:
    """Sorts the inputs of a graph out.

    Raises:
        UnsupportedError: An input is neither a tensor nor an integer.
    """
    placeholders = list(graph.find_nodes(op="placeholder"))
    weights: list[tuple[fx.Node, int]] = []
    activations: list[Activation] = []
    integers: list[tuple[int, torch.SymInt]] = []
    symbols: dict[Any, tuple[int, int | None]] = {}
    for at, node in enumerate(placeholders):
        value = example(node)
        if isinstance(value, torch.SymInt):
            integers.append((at, value))
        elif not isinstance(value, torch.Tensor):
            raise UnsupportedError(
                f"[dynamo] input {node.name}: want a tensor or an integer, "
                f"have {type(value).__name__}"
            )
        elif _is_weight(node, value):
            weights.append((node, at))
        else:
            free = tuple(d for d, size in enumerate(value.shape) if isinstance(size, torch.SymInt))
            activations.append(Activation(at, free))
            for dim in free:
                _bind(symbols, value.shape[dim], (at, dim))
    sizes = []
    for at, value in integers:
        source = symbols.get(value.node.expr)
        _bind(symbols, value, (at, None))
        sizes.append(Size(at, source[0] if source else None, (source[1] or 0) if source else 0))
    names = _weight_names([node for node, _ in weights])
    return Inputs(
        tuple(Weight(name, at) for name, (_, at) in zip(names, weights, strict=True)),
        tuple(activations),
        tuple(sizes),
        symbols,
    )


def _is_weight(node: fx.Node, value: torch.Tensor) -> bool:
    # torch.compile marks what belongs to a module: it is not an argument of the user's call.
    marked = (node.meta.get("tensor_dict") or {}).get("_dynamo_static_input_type")
    return isinstance(value, torch.nn.Parameter) or marked is not None


def _bind(
    symbols: dict[Any, tuple[int, int | None]], size: torch.SymInt, place: tuple[int, int | None]
) -> None:
    expr = size.node.expr
    if expr.is_Symbol:
        symbols.setdefault(expr, place)


def _weight_names(nodes: Sequence[fx.Node]) -> list[str]:
    """Names as in the user's ``state_dict`` where the sources tell them, each once."""
    paths = [_path(node) for node in nodes]
    short = [".".join(path[1:]) or path[0] for path in paths]
    names: list[str] = []
    for path, name in zip(paths, short, strict=True):
        # Two modules of one frame: their names in it come first.
        unique = ".".join(path) if short.count(name) > 1 else name
        while unique in names:
            unique += "_"
        names.append(unique)
    return names


def _path(node: fx.Node) -> list[str]:
    grapharg = node.meta.get("grapharg")
    source = grapharg.source.name if grapharg is not None else node.name
    steps = [a or b for a, b in _STEP.findall(source() if callable(source) else source)]
    steps = [step for step in steps if step not in _TABLES]
    # A part of a name must not hold the separator: keys of a ModuleDict may be anything.
    return [re.sub(r"\W", "_", step) or "_" for step in steps] or [node.name]
