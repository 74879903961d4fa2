"""How the outputs of a graph come about: computed, an input itself, a view, a size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from regraft.dynamo.inputs import Inputs, example

Sizes = dict[Any, int]
# From what the engine gave, the inputs of the call and the symbols' sizes to one output.
Maker = Callable[[Sequence[torch.Tensor], Sequence[Any], Sizes], Any]


@dataclass(frozen=True)
class Outputs:
    """The outputs of a graph.

    Attributes:
        computed: The values that the engine gives, in order.
        makers: One per output of the graph.
    """

    computed: tuple[fx.Node, ...]
    makers: tuple[Maker, ...]


def sort_outputs(graph: fx.Graph, inputs: Inputs) -> Outputs:
    """Sorts the outputs of a graph out.

    Views stay views: an output over the memory of an input, or of another output, is one here too,
    for whoever writes to it after the graph.
    """
    (returned,) = graph.output_node().args
    assert isinstance(returned, tuple | list)
    place = {node: i for i, node in enumerate(graph.find_nodes(op="placeholder"))}
    storages = _storages(graph)
    shared = _shared(returned, place, storages)
    computed: list[fx.Node] = []
    makers: list[Maker] = []
    for value in returned:
        if not isinstance(value, fx.Node):
            makers.append(_constant(value))
        elif value in place:
            makers.append(_input(place[value]))
        elif isinstance(example(value), torch.Tensor):
            root = shared.get(storages.get(value))
            if root is None or not _same_kind(example(root), example(value)):
                makers.append(_computed(_index(computed, value)))
            else:
                at = place.get(root)
                give = _input(at) if at is not None else _computed(_index(computed, root))
                makers.append(give if root is value else _view(give, root, value))
        else:
            makers.append(_size(example(value)))
    return Outputs(tuple(computed), tuple(makers))


def sizes_of(inputs: Inputs, args: Sequence[Any]) -> Sizes:
    """The symbols of the inputs at one call."""
    return {
        symbol: int(args[at]) if dim is None else int(args[at].shape[dim])
        for symbol, (at, dim) in inputs.symbols.items()
    }


def _index(computed: list[fx.Node], node: fx.Node) -> int:
    if node not in computed:
        computed.append(node)
    return computed.index(node)


def _storages(graph: fx.Graph) -> dict[fx.Node, int]:
    storages: dict[fx.Node, int] = {}
    for node in graph.nodes:
        value = example(node)
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            # Tensors inside torch.vmap have none.
            with contextlib.suppress(NotImplementedError):
                storages[node] = value.untyped_storage()._cdata
    return storages


def _shared(
    returned: Sequence[Any], place: dict[fx.Node, int], storages: dict[fx.Node, int]
) -> dict[int | None, fx.Node]:
    """Storages that an output shares with an input or another output -> who made them."""
    roots: dict[int, fx.Node] = {}
    for node, storage in storages.items():
        roots.setdefault(storage, node)
    counts: dict[int, int] = {}
    for value in {v for v in returned if isinstance(v, fx.Node) and v in storages}:
        counts[storages[value]] = counts.get(storages[value], 0) + 1
    return {s: roots[s] for s, count in counts.items() if count > 1 or roots[s] in place}


def _same_kind(root: torch.Tensor, view: torch.Tensor) -> bool:
    kinds = [(t.dtype, t.is_conj(), t.is_neg()) for t in (root, view)]
    return kinds[0] == kinds[1]


def _constant(value: Any) -> Maker:
    return lambda computed, args, sizes: value


def _input(at: int) -> Maker:
    return lambda computed, args, sizes: args[at]


def _computed(index: int) -> Maker:
    return lambda computed, args, sizes: computed[index]


def _size(value: Any) -> Maker:
    return lambda computed, args, sizes: _number(value, sizes)


def _number(value: Any, sizes: Sizes) -> Any:
    if not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return value
    expr = value.node.expr.xreplace(sizes)
    kind = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}[type(value)]
    return kind(expr)


def _view(give: Maker, root: fx.Node, node: fx.Node) -> Maker:
    base, view = example(root), example(node)

    def make(computed: Sequence[torch.Tensor], args: Sequence[Any], sizes: Sizes) -> Any:
        tensor = give(computed, args, sizes)
        strides = [_number(s, sizes) for s in base.stride()]
        offset = _number(view.storage_offset(), sizes) - _number(base.storage_offset(), sizes)
        if list(tensor.stride()) != strides:
            strided = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
            tensor = strided.copy_(tensor)
        return tensor.as_strided(
            [_number(s, sizes) for s in view.shape],
            [_number(s, sizes) for s in view.stride()],
            tensor.storage_offset() + offset,
        )

    return make
