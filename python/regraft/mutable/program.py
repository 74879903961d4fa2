"""One program of a mutable module: what it answers, and which slot each of its weights lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument

from regraft._handover import tensors_of
from regraft.mutable.calls import Call, CallKind, Shape
from regraft.mutable.watch import Slot


@dataclass
class Compiled:
    """A compiled program.

    Attributes:
        engine: Answers the calls.
        kind: The calls it was made for.
        sizes: Of each tensor of the call, each dim's size or the expression of it.
        ranges: Least and greatest value by symbol.
        places: Name of a weight in the program -> number of its slot.
        key: Fingerprint of the program.
        scale: What the call multiplied the scales of adapters by that the engine has; None when
            the module's adapters changed since.
        pending: Slots that changed since the engine last took them.
        refused: Sizes that the engine did not take although they looked fit.
    """

    engine: Any
    kind: CallKind
    sizes: tuple[tuple[Any, ...], ...]
    ranges: Mapping[Any, tuple[int, int]]
    places: dict[str, int]
    key: str
    scale: float | None = 1.0
    pending: set[int] = field(default_factory=set)
    refused: set[tuple[Shape, ...]] = field(default_factory=set)

    def answers(self, call: Call) -> bool:
        """Whether the program takes a call."""
        if call.kind != self.kind or call.shapes in self.refused:
            return False
        bound: dict[Any, int] = {}
        for sizes, shape in zip(self.sizes, call.shapes, strict=True):
            for size, have in zip(sizes, shape, strict=True):
                if isinstance(size, int):
                    if size != have:
                        return False
                elif size in self.ranges:
                    least, greatest = self.ranges[size]
                    if not least <= have <= greatest or bound.setdefault(size, have) != have:
                        return False
        return True

    def is_fixed(self) -> bool:
        """Whether it takes calls of one size only."""
        return all(isinstance(size, int) for sizes in self.sizes for size in sizes)


def describe_inputs(
    program: ExportedProgram,
) -> tuple[tuple[tuple[Any, ...], ...], dict[Any, tuple[int, int]]]:
    """Sizes and ranges for ``Compiled``."""
    values = {n.name: n.meta["val"] for n in program.graph.find_nodes(op="placeholder")}
    sizes = tuple(
        tuple(s.node.expr if isinstance(s, torch.SymInt) else s for s in values[name].shape)
        for name in _tensor_inputs(program)
    )
    # Symbols that are no sizes, as those of values are, may have no bounds.
    free = {size for dims in sizes for size in dims}
    ranges = {
        symbol: (int(bounds.lower), _greatest(bounds.upper))
        for symbol, bounds in program.range_constraints.items()
        if symbol in free
    }
    return sizes, ranges


def _tensor_inputs(program: ExportedProgram) -> list[str]:
    return [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]


def _greatest(bound: Any) -> int:
    return int(bound) if bound.is_Integer else 2**63 - 1


def places_of(
    program: ExportedProgram, slots: Sequence[Slot], tensors: Sequence[torch.Tensor]
) -> dict[str, int]:
    """The slot of every weight of a program; constants made by ``forward`` have none."""
    by_name = {slot.name: i for i, slot in enumerate(slots)}
    by_tensor = {id(tensor): i for i, tensor in enumerate(tensors)}
    places: dict[str, int] = {}
    for name, tensor in tensors_of(program).items():
        place = by_name.get(name, by_tensor.get(id(tensor)))
        if place is not None:
            places[name] = place
    return places


def fingerprint(program: ExportedProgram) -> str:
    """Equal for equal programs, whatever the values of their weights."""
    lines: list[str] = []
    for node in program.graph.nodes:
        lines.append(node.format_node() or "")
        lines.append(_type(node.meta.get("val")))
    lines += [repr(program.graph_signature), repr(program.call_spec)]
    lines.append(repr(sorted((str(k), str(v)) for k, v in program.range_constraints.items())))
    for name, tensor in tensors_of(program).items():
        lines.append(f"{name}: {_type(tensor)}")
    # Which names are one tensor.
    first: dict[int, str] = {}
    lines += [first.setdefault(id(t), name) for name, t in tensors_of(program).items()]
    for name, module in program.graph_module.named_modules():
        if isinstance(module, fx.GraphModule) and name:
            lines.append(f"{name}: {module.code}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)}{value.stride()}"
    if isinstance(value, list | tuple):
        return ",".join(_type(v) for v in value)
    return repr(value)
