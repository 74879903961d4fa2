"""Inputs of a call, some of them `Input`s: example tensors, ranges, and what a program takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from regraft.errors import InvalidArgumentError, MismatchError
from regraft.torch_tensorrt._input import Input


@dataclass(frozen=True)
class Inputs:
    """Arguments as they were given, `Input`s where a shape may stand for a tensor."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def is_given(self) -> bool:
        return bool(self.args or self.kwargs)

    def leaves(self) -> list[Any]:
        """Every argument, nested ones too, in the order of a flat call."""
        leaves: list[Any] = pytree.tree_leaves((self.args, self.kwargs))
        return leaves

    def device(self) -> torch.device | None:
        """Where the tensors are."""
        tensors = (x.torch_tensor if isinstance(x, Input) else x for x in self.leaves())
        return next((x.device for x in tensors if isinstance(x, torch.Tensor)), None)

    def examples(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments to export with."""
        return _mapped(self, lambda x, name: x.traced_tensor() if isinstance(x, Input) else x)

    def dynamic_shapes(self) -> Any:
        """As for ``torch.export.export``; None where every size is fixed."""
        if not any(isinstance(x, Input) and x.is_dynamic for x in self.leaves()):
            return None
        args, kwargs = _mapped(self, _dims)
        # A positional argument has no name here: torch.export takes one list of all.
        return [*args, *kwargs.values()]


def make_inputs(
    inputs: Any = None,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
) -> Inputs:
    """Inputs from the three keywords of Torch-TensorRT.

    Raises:
        InvalidArgumentError: Both spellings of positional inputs, or something else than a
            sequence and a mapping.
    """
    if inputs is not None and arg_inputs is not None:
        raise InvalidArgumentError(
            "[torch_tensorrt] inputs and arg_inputs are the same; pass one of them"
        )
    given = arg_inputs if inputs is None else inputs
    args = () if given is None else given
    if isinstance(args, torch.Tensor | Input):
        args = (args,)
    if not isinstance(args, Sequence) or isinstance(args, str):
        raise InvalidArgumentError(
            f"[torch_tensorrt] inputs: want a sequence, have {type(args).__name__}"
        )
    kwargs = {} if kwarg_inputs is None else kwarg_inputs
    if not isinstance(kwargs, Mapping):
        raise InvalidArgumentError(
            f"[torch_tensorrt] kwarg_inputs: want a mapping, have {type(kwargs).__name__}"
        )
    return Inputs(tuple(args), dict(kwargs))


def optimum_of(program: ExportedProgram, inputs: Inputs) -> dict[str, int]:
    """Sizes to tune a program for, by symbol: those of the inputs.

    Raises:
        MismatchError: The program does not take such inputs; lists every one that does not fit.
    """
    specs = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    values = {n.name: n.meta.get("val") for n in program.graph.find_nodes(op="placeholder")}
    _, own = program.call_spec.in_spec.children()
    in_order = {name: inputs.kwargs[name] for name in own.context if name in inputs.kwargs}
    leaves = Inputs(inputs.args, in_order | inputs.kwargs).leaves()
    if len(leaves) != len(specs):
        raise MismatchError(
            f"[torch_tensorrt] inputs: the program takes {len(specs)}, have {len(leaves)}"
        )
    ranges = {str(symbol): span for symbol, span in program.range_constraints.items()}
    sizes: dict[str, int] = {}
    problems = []
    for spec, leaf in zip(specs, leaves, strict=True):
        want = values.get(getattr(spec.arg, "name", ""))
        if not isinstance(want, torch.Tensor) or not isinstance(leaf, torch.Tensor | Input):
            continue
        given = leaf if isinstance(leaf, Input) else Input.from_tensor(leaf, True)
        if given.dtype != want.dtype or not _fits(want, given, ranges):
            spans = [f"{n} in {r.lower}..{r.upper}" for n, r in ranges.items()]
            problems.append(
                f"input '{spec.arg.name}': want {want.dtype} {_shape(want)}"
                f"{' (' + ', '.join(spans) + ')' if spans else ''}, have {given!r}"
            )
            continue
        for dim, size in zip(want.shape, given.opt_shape, strict=True):
            if str(dim).isidentifier():
                sizes.setdefault(str(dim), size)
    if problems:
        raise MismatchError("[torch_tensorrt] " + "; ".join(problems))
    return sizes


def _fits(want: torch.Tensor, given: Input, ranges: Mapping[str, Any]) -> bool:
    if len(want.shape) != len(given.opt_shape):
        return False
    for dim, low, high in zip(want.shape, given.min_shape, given.max_shape, strict=True):
        if str(dim).isdecimal():
            if not low == int(dim) == high:
                return False
        elif str(dim) in ranges:
            span = ranges[str(dim)]
            if not (span.lower <= low and high <= span.upper):
                return False
    return True


def _shape(tensor: torch.Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def _dims(leaf: Any, name: str) -> Any:
    if not isinstance(leaf, torch.Tensor | Input):
        return None
    if not isinstance(leaf, Input):
        return {}
    label = leaf.name if leaf.name.isidentifier() else name
    return {
        i: Dim(f"{label}_{i}", min=leaf.min_shape[i], max=leaf.max_shape[i]) for i in leaf.free_dims
    }


def _mapped(inputs: Inputs, make: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    leaves, spec = pytree.tree_flatten((inputs.args, inputs.kwargs))
    made = [make(leaf, f"input{i}") for i, leaf in enumerate(leaves)]
    args, kwargs = pytree.tree_unflatten(made, spec)
    return tuple(args), dict(kwargs)
