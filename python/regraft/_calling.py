"""From Python calls to flat tensors and back: the pytrees of a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    SymIntArgument,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from regraft._files import reading
from regraft._handover import ORDINARY
from regraft._trees import tree_from_text
from regraft.errors import CorruptError, MismatchError, UnsupportedError


class CallSpec:
    """How a program is called: the trees of its inputs and outputs.

    Tensors (and, in modules, dynamic numbers) are inputs. Other numbers and strings of the example
    call are part of the program: a later call may repeat them but not change them.
    """

    def __init__(self, text: str) -> None:
        """
        Raises:
            CorruptError: A file brings a text that no compilation wrote.
        """
        with reading("[engine_file] the trees of inputs and outputs"):
            self._read(json.loads(text))

    def _read(self, spec: dict[str, Any]) -> None:
        self._in_spec = tree_from_text(spec["in_spec"])
        self._out_spec = tree_from_text(spec["out_spec"])
        self._tensors: list[int] = spec["tensor_leaves"]
        self._numbers: list[int] = spec.get("number_leaves", [])
        self._taken = sorted([*self._tensors, *self._numbers])
        self._returns_numbers: bool = spec.get("returns_numbers", False)
        self._number_outputs: list[int] | None = spec.get("number_outputs")
        self._number_symbols: list[tuple[str, int, int | None]] = [
            (name, least, greatest) for name, least, greatest in spec.get("number_symbols", [])
        ]
        self._constants: list[tuple[int, Any]] = [(i, v) for i, v in spec.get("constants", [])]
        positional, by_name = self._in_spec.children()
        is_flat = not by_name.children() and all(s.is_leaf() for s in positional.children())
        # Tensors by position and nothing else: then how many.
        self._flat = len(self._tensors) if is_flat and not self._numbers else -1
        if self._constants:
            self._flat = -1
        self._out_constants: dict[int, Any] = dict(spec.get("out_constants", []))
        read = [*self._tensors, *self._numbers, *(i for i, _ in self._constants)]
        if len(self._number_symbols) not in (0, len(self._numbers)):
            raise ValueError("a symbol for each number is wanted")
        if not set(read) <= set(range(self._in_spec.num_leaves)):
            raise ValueError(f"inputs {read} of {self._in_spec.num_leaves}")

    def check_counts(self, inputs: int, outputs: int) -> None:
        """Checks that this is a call of something with so many flat inputs and outputs.

        Raises:
            CorruptError: It is not.
        """
        have = len(self._taken), self._out_spec.num_leaves - len(self._out_constants)
        if have != (inputs, outputs):
            raise CorruptError(
                f"[engine_file] the trees of inputs and outputs: want {inputs} inputs and "
                f"{outputs} outputs, have {have[0]} and {have[1]}"
            )

    def flatten(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The tensors (and dynamic numbers) of a call, in the order of the inputs.

        Raises:
            MismatchError: The call has another structure than the exported one, or another value
                where that was a constant.
        """
        if len(args) == self._flat and not kwargs and all(type(x) in ORDINARY for x in args):
            return [*args]
        leaves = self._leaves((args, dict(kwargs)))
        for index in self._tensors:
            if not isinstance(leaves[index], torch.Tensor):
                raise MismatchError(
                    f"[engine] input {index}: want a tensor, have {type(leaves[index]).__name__}"
                )
        for index in self._numbers:
            if not isinstance(leaves[index], int | torch.SymInt):
                raise MismatchError(
                    f"[engine] input {index}: want an int, have {type(leaves[index]).__name__}"
                )
        for index, value in self._constants:
            if not _is_same(leaves[index], value):
                raise MismatchError(
                    f"[engine] input {index}: want {value!r}, which is part of the program, have "
                    f"{leaves[index]!r}"
                )
        return [leaves[i] for i in self._taken]

    def _leaves(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Any]:
        leaves: list[Any]
        leaves, spec = pytree.tree_flatten(call)
        if spec == self._in_spec:
            return leaves
        try:
            # The order of keys is the caller's business; the tree has that of the export.
            leaves = self._in_spec.flatten_up_to(call)
            return leaves
        except ValueError as error:
            raise MismatchError(
                f"[engine] inputs: want the structure {self._in_spec}, have {spec}"
            ) from error

    @property
    def has_numbers(self) -> bool:
        """Whether a call brings or returns dynamic numbers."""
        return bool(self._numbers) or self._returns_numbers

    @property
    def numbers(self) -> list[tuple[int, str, int, int | None]]:
        """Of every dynamic number of a call: its place in what ``flatten`` gives, its symbol, the
        least and greatest value (None: no bound)."""
        places = [i for i, leaf in enumerate(self._taken) if leaf in self._numbers]
        return [
            (place, *symbol) for place, symbol in zip(places, self._number_symbols, strict=True)
        ]

    def numbers_of(self, taken: Sequence[Any]) -> dict[str, int]:
        """Values of the symbols of dynamic numbers, out of what ``flatten`` gives.

        Raises:
            MismatchError: A number is outside of its range; lists every one.
        """
        if not self._number_symbols:
            return {}
        values, problems = {}, []
        for place, symbol, least, greatest in self.numbers:
            value = values[symbol] = taken[place]
            if value < least or (greatest is not None and value > greatest):
                span = f"at least {least}" if greatest is None else f"{least}..{greatest}"
                problems.append(f"input {self._taken[place]}: want {span}, have {value}")
        if problems:
            raise MismatchError("[engine] " + "; ".join(problems))
        return values

    @property
    def number_outputs(self) -> list[int]:
        """Places of numbers in the flat outputs."""
        return self._number_outputs or []

    @property
    def knows_its_numbers(self) -> bool:
        """Whether ``numbers`` and ``number_outputs`` are known; not of older files."""
        return len(self._numbers) == len(self._number_symbols) and (
            not self._returns_numbers or self._number_outputs is not None
        )

    def example(
        self, taken: Sequence[Any], **of_constants: None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments whose inputs are these; constants are those of the program (or all None)."""
        leaves: list[Any] = [None] * self._in_spec.num_leaves
        for index, value in zip(self._taken, taken, strict=True):
            leaves[index] = value
        if not of_constants:
            for index, value in self._constants:
                leaves[index] = value
        args, kwargs = pytree.tree_unflatten(leaves, self._in_spec)
        return tuple(args), dict(kwargs)

    def unflatten(self, outputs: Sequence[Any]) -> Any:
        """The outputs in the structure that the program returns."""
        leaves = list(outputs)
        for index in sorted(self._out_constants):
            leaves.insert(index, self._out_constants[index])
        return pytree.tree_unflatten(leaves, self._out_spec)


def _is_same(have: Any, want: Any) -> bool:
    if have is want or isinstance(have, torch.Tensor):
        return have is want
    try:
        return bool(have == want or (have != have and want != want))  # NaN is one value.
    except (TypeError, ValueError):  # Arrays answer element by element.
        return False


def call_text(program: ExportedProgram, in_spec: str, out_spec: str) -> str:
    """The text that CallSpec reads, for a program with these serialised pytrees.

    Raises:
        UnsupportedError: The call has something that is neither a tensor nor a plain value.
    """
    args = [s.arg for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    outs = [s.arg for s in program.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
    for what, arguments in (("input", args), ("output", outs)):
        for i, arg in enumerate(arguments):
            if not isinstance(arg, TensorArgument | SymIntArgument | ConstantArgument):
                raise UnsupportedError(
                    f"[program] {what} {i}: {type(arg).__name__} is not supported"
                )
    return json.dumps(
        {
            "in_spec": in_spec,
            "out_spec": out_spec,
            "tensor_leaves": [i for i, a in enumerate(args) if isinstance(a, TensorArgument)],
            "number_leaves": [i for i, a in enumerate(args) if isinstance(a, SymIntArgument)],
            "number_symbols": [
                _symbol(program, a.name) for a in args if isinstance(a, SymIntArgument)
            ],
            "returns_numbers": any(isinstance(a, SymIntArgument) for a in outs),
            "number_outputs": [
                i
                for i, a in enumerate(a for a in outs if not isinstance(a, ConstantArgument))
                if isinstance(a, SymIntArgument)
            ],
            "constants": [
                (i, a.value) for i, a in enumerate(args) if isinstance(a, ConstantArgument)
            ],
            "out_constants": [
                (i, a.value) for i, a in enumerate(outs) if isinstance(a, ConstantArgument)
            ],
        }
    )


def _symbol(program: ExportedProgram, name: str) -> tuple[str, int, int | None]:
    """The expression of a number that a call brings, its least and its greatest value."""
    value = next(n for n in program.graph.nodes if n.name == name).meta["val"]
    expression = value.node.expr if isinstance(value, torch.SymInt) else value
    span = program.range_constraints.get(expression)
    if span is None:
        return str(expression), 0, None
    # Some infinity, or a number so large that it stands for one.
    least, greatest = str(span.lower), str(span.upper)
    bounded = greatest.isdecimal() and int(greatest) < 2**62
    return (
        str(expression),
        int(least) if least.isdecimal() else 0,
        int(greatest) if bounded else None,
    )
