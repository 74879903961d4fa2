"""Compiled programs inside ExportedPrograms: their file as a constant, and one op that runs it.

``torch.export.save`` and ``load`` keep such a program like any other.
"""

from __future__ import annotations

import json
import operator
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import fx
from torch.export import Dim, ExportedProgram
from torch.utils.weak import WeakTensorKeyDictionary

from regraft._exporting import export
from regraft._handover import torch_dtype
from regraft._sizes import evaluate
from regraft._want import want_call
from regraft.engine import Engine
from regraft.errors import CorruptError, InvalidArgumentError, MismatchError, UnsupportedError
from regraft.module.module import Module
from regraft.module.saving import module_bytes, module_from_bytes
from regraft.module.signature import Signature, SymbolRange, TensorSpec

Compiled: TypeAlias = Engine | Module

_lock = threading.Lock()
_loaded = WeakTensorKeyDictionary()


@torch.library.custom_op("regraft::run_engine", mutates_args=())  # type: ignore[untyped-decorator]
def run_engine(
    engine: torch.Tensor, signature: str, inputs: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Runs the engine or module whose file's bytes ``engine`` holds."""
    outputs = flat_run(compiled_of(engine), list(inputs))
    # An op's results are its own.
    taken = {x.untyped_storage().data_ptr() for x in inputs}
    return [y.clone() if y.untyped_storage().data_ptr() in taken else y for y in outputs]


@run_engine.register_fake  # type: ignore[untyped-decorator]
def _(engine: torch.Tensor, signature: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return _fake_outputs(json.loads(signature), inputs, {})


@torch.library.custom_op("regraft::run_program", mutates_args=())  # type: ignore[untyped-decorator]
def run_program(
    engine: torch.Tensor, signature: str, inputs: Sequence[torch.Tensor], numbers: Sequence[int]
) -> list[torch.Tensor]:
    """``run_engine`` of a program that takes or returns numbers; those come as int64 scalars."""
    facts = json.loads(signature)
    flat: list[Any] = list(inputs)
    for (place, _), number in zip(facts["numbers"], numbers, strict=True):
        flat.insert(place, number)
    taken = {x.untyped_storage().data_ptr() for x in inputs}
    return [
        torch.tensor(y, dtype=torch.int64, device=engine.device)
        if not isinstance(y, torch.Tensor)
        else y.clone()
        if y.untyped_storage().data_ptr() in taken
        else y
        for y in compiled_of(engine).run_flat(flat)
    ]


@run_program.register_fake  # type: ignore[untyped-decorator]
def _(
    engine: torch.Tensor, signature: str, inputs: Sequence[torch.Tensor], numbers: Sequence[int]
) -> list[torch.Tensor]:
    facts = json.loads(signature)
    known = {symbol: n for (_, symbol), n in zip(facts["numbers"], numbers, strict=True)}
    outputs = _fake_outputs(facts, inputs, known)
    for place in facts["number_outputs"]:
        outputs.insert(place, torch.empty([], dtype=torch.int64, device=engine.device))
    return outputs


def _fake_outputs(
    facts: Mapping[str, Any], inputs: Sequence[torch.Tensor], sizes: dict[str, Any]
) -> list[torch.Tensor]:
    for (_, dims), tensor in zip(facts["inputs"], inputs, strict=True):
        for dim, size in zip(dims, tensor.shape, strict=True):
            if dim.isidentifier():
                sizes.setdefault(dim, size)
    return [
        inputs[0].new_empty([evaluate(dim, sizes) for dim in dims], dtype=torch_dtype(dtype))
        if inputs
        else torch.empty([int(dim) for dim in dims], dtype=torch_dtype(dtype))
        for dtype, dims in facts["outputs"]
    ]


def flat_run(compiled: Compiled, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Runs on flat inputs."""
    return compiled.run_flat(inputs)


def compiled_of(tensor: torch.Tensor) -> Compiled:
    """The engine or module of a file's bytes; loaded once for each tensor and its version."""
    with _lock:
        found = _loaded.get(tensor)
        if found is None or found[0] != tensor._version:
            found = (tensor._version, from_bytes(tensor.numpy().tobytes()))
            _loaded[tensor] = found
        compiled: Compiled = found[1]
        return compiled


# Files of two generations differ by a few bytes: room for those keeps the tensor's size.
_ROOM = 1 << 14


def to_bytes(compiled: Compiled) -> bytes:
    """The file that ``save`` writes, behind its length, with zeros up to a round size."""
    data = compiled.serialize() if isinstance(compiled, Engine) else module_bytes(compiled)
    size = (len(data) // _ROOM + 2) * _ROOM
    return struct.pack("<Q", len(data)) + data + b"\0" * (size - len(data) - 8)


def from_bytes(data: bytes) -> Compiled:
    """What ``to_bytes`` made the bytes of.

    Raises:
        CorruptError, VersionError: Other bytes.
    """
    length = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    if not 0 < length <= len(data) - 8:
        raise CorruptError("[engine_file] the constant does not hold a compiled program")
    file = data[8 : 8 + length]
    return module_from_bytes(file) if file[:2] == b"PK" else Engine.deserialize(file)


class Holder(torch.nn.Module):
    """A compiled program as a module whose only tensor is its file.

    Calls may be traced; ``compiled`` gives the engine or module back.
    """

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        data = bytearray(to_bytes(compiled))
        self.register_buffer("engine", torch.frombuffer(data, dtype=torch.uint8))
        self._call = compiled.call_spec
        self._signature = signature_text(compiled)

    @property
    def compiled(self) -> Compiled:
        return compiled_of(self.engine)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._call is None:
            outputs = run_engine(self.engine, self._signature, list(args))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        inputs = self._call.flatten(args, kwargs)
        if not self._call.has_numbers:
            return self._call.unflatten(run_engine(self.engine, self._signature, inputs))
        places = [place for place, *_ in self._call.numbers]
        tensors = [x for i, x in enumerate(inputs) if i not in places]
        numbers = [inputs[place] for place in places]
        results: list[Any] = run_program(self.engine, self._signature, tensors, numbers)
        for place in self._call.number_outputs:
            results[place] = results[place].item()
        return self._call.unflatten(results)


def signature_text(compiled: Compiled) -> str:
    """dtypes and sizes at the boundary, for the op's results in traces."""
    signature, call = compiled.signature(), compiled.call_spec
    facts: dict[str, Any] = {
        "inputs": [(spec.dtype, list(spec.dims)) for spec in signature.inputs],
        "outputs": [(spec.dtype, list(spec.dims)) for spec in signature.outputs],
    }
    if call is not None and call.has_numbers:
        facts["numbers"] = [(place, symbol) for place, symbol, *_ in call.numbers]
        facts["number_outputs"] = call.number_outputs
    return json.dumps(facts)


def to_exported_program(
    compiled: Compiled,
    args: tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
) -> ExportedProgram:
    """An ExportedProgram that holds the engine or module and runs it.

    Args:
        args, kwargs, dynamic_shapes: As for ``torch.export.export``; by default inputs of the
            signature, dynamic where that is.

    Raises:
        UnsupportedError: The program takes or returns numbers, and was loaded from a file that does
            not say which.
        StateError: It has no weights, or some were not retained.
    """
    if not isinstance(compiled, Engine | Module):
        raise TypeError(f"want a regraft.Engine or regraft.Module, have {type(compiled).__name__}")
    call = compiled.call_spec
    if call is not None and not call.knows_its_numbers:
        raise UnsupportedError(
            "[program] the program takes or returns numbers, and its file, of an older version, "
            "does not say which: compile it again"
        )
    if args is None and kwargs is None:
        tensors, shapes = _examples(compiled)
        if call is None:
            args, kwargs = tuple(tensors), {}
            dynamic_shapes = {"args": tuple(shapes)}
        else:
            args, kwargs = call.example(tensors)
            own_args, own_kwargs = call.example(shapes, of_constants=None)
            dynamic_shapes = {"args": own_args, **own_kwargs}
    else:
        args = () if args is None else args
        want_call("program", args, kwargs)
        _want_inputs(compiled, tuple(args), kwargs or {})
    return export(Holder(compiled), tuple(args or ()), kwargs or {}, dynamic_shapes)


def _want_inputs(compiled: Compiled, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    call = compiled.call_spec
    flat = list(args) if call is None else call.flatten(args, kwargs)
    tensors = [x for x in flat if isinstance(x, torch.Tensor)]
    signature: Any = compiled.signature()
    if len(tensors) != len(signature.inputs):
        raise MismatchError(
            f"[engine] inputs: want {len(signature.inputs)} tensors, have {len(tensors)}"
        )
    specs = [TensorSpec(spec.name, spec.dtype, tuple(spec.dims)) for spec in signature.inputs]
    symbols = [SymbolRange(s.name, s.min, s.max) for s in signature.symbols]
    Signature(tuple(specs), (), tuple(symbols)).check(tensors, {})


def _examples(compiled: Compiled) -> tuple[list[Any], list[Any]]:
    signature: Any = compiled.signature()  # Of an engine or a module: alike.
    sizes: dict[str, int] = {}
    for i, symbol in enumerate(signature.symbols):
        # Different sizes for different symbols, so that the export does not take them for one.
        size = max(symbol.optimum, symbol.min, 2) + (0 if symbol.optimum else 2 * i + 1)
        sizes[symbol.name] = size if symbol.max is None else min(size, symbol.max)
    tensors: list[Any] = []
    shapes: list[Any] = []
    for spec in signature.inputs:
        dims = [evaluate(dim, sizes) for dim in spec.dims]
        tensors.append(torch.zeros(dims, dtype=torch_dtype(spec.dtype)))
        shapes.append([Dim.STATIC if dim.isdecimal() else Dim.AUTO for dim in spec.dims])
    for place, symbol, least, greatest in compiled.call_spec.numbers if compiled.call_spec else ():
        # As for sizes; 0 and 1 would become part of the program.
        number = max(least, 2) + 2 * len(sizes) + 1
        number = sizes.setdefault(symbol, number if greatest is None else min(number, greatest))
        tensors.insert(place, number)
        shapes.insert(place, Dim.AUTO)
    return tensors, shapes


def held_tensor(program: Any) -> torch.Tensor | None:
    """The tensor with the file of what an ExportedProgram, or the module of one, holds.

    Raises:
        InvalidArgumentError: It holds several.
    """
    if isinstance(program, Holder):
        return program.engine
    if isinstance(program, ExportedProgram):
        names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        owned = {**program.state_dict, **program.constants}
        tensors = [owned.get(names.get(node.name)) for node in _held_nodes(program.graph)]
    elif isinstance(program, fx.GraphModule):
        tensors = [
            operator.attrgetter(str(node.target))(program) for node in _held_nodes(program.graph)
        ]
    else:
        return None
    distinct = {id(t): t for t in tensors if isinstance(t, torch.Tensor)}
    if len(distinct) > 1:
        raise InvalidArgumentError(f"[refit] want one compiled program, have {len(distinct)}")
    return next(iter(distinct.values()), None)


def _ops() -> tuple[Any, ...]:
    return torch.ops.regraft.run_engine.default, torch.ops.regraft.run_program.default


def _held_nodes(graph: fx.Graph) -> list[fx.Node]:
    nodes = []
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _ops():
            held = node.args[0]
            assert isinstance(held, fx.Node)
            nodes.append(held)
    return nodes


def replace_held(tensor: torch.Tensor, compiled: Compiled) -> None:
    """Writes another generation of the same program over the file in ``tensor``.

    Raises:
        MismatchError: The file would have another size.
    """
    data = torch.frombuffer(bytearray(to_bytes(compiled)), dtype=torch.uint8)
    if data.shape != tensor.shape:
        raise MismatchError(
            f"[refit] want {tensor.numel()} bytes, have {data.numel()}: refit out of place"
        )
    with _lock, torch.no_grad():
        tensor.copy_(data)
        _loaded[tensor] = (tensor._version, compiled)
