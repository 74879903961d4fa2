"""Programs in float64 as programs that compute in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from regraft._handover import functional
from regraft.errors import UnsupportedError


def truncated(program: ExportedProgram) -> ExportedProgram:
    """The program with every float64 value in float32; inputs, outputs and weights keep their
    dtypes, and are converted where they are read and returned.

    Returns:
        A functional program; the one given where nothing is float64.

    Raises:
        UnsupportedError: Control flow, or an op that does not take float32.
    """
    program = functional(program)
    if not any(_is_double(value) for node in program.graph.nodes for value in _values(node)):
        return program
    return ExportedProgram(
        root=program.graph_module,
        graph=_Truncation(program.graph).run(),
        graph_signature=program.graph_signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )


class _Truncation:
    """One graph being copied."""

    def __init__(self, graph: fx.Graph) -> None:
        self._old = graph
        self._new = fx.Graph()
        self._nodes: dict[fx.Node, fx.Node] = {}
        self._returned = set(graph.output_node().all_input_nodes)
        tensors = (v for node in graph.nodes for v in _values(node) if isinstance(v, torch.Tensor))
        self._mode: Any = next((v.fake_mode for v in tensors if hasattr(v, "fake_mode")), None)

    def run(self) -> fx.Graph:
        returns: dict[fx.Node, fx.Node] = {}
        for node in self._old.nodes:
            if node.op == "output":
                args = fx.map_arg(node.args, lambda n: returns.get(n, self._nodes[n]))
                self._new.create_node("output", "output", args, {}, node.name).meta = node.meta
            elif node.op == "placeholder":
                returns[node] = self._nodes[node] = self._copied(node, node.name)
                if _is_double(node.meta.get("val")):
                    self._nodes[node] = self._cast(returns[node], f"{node.name}_f32", torch.float32)
            elif node in self._returned and _is_double(node.meta.get("val")):
                # The signature knows outputs by name.
                self._nodes[node] = self._copied(node, f"{node.name}_f32")
                returns[node] = self._cast(self._nodes[node], node.name, torch.float64)
            else:
                self._nodes[node] = self._copied(node, node.name)
        return self._new

    def _copied(self, node: fx.Node, name: str) -> fx.Node:
        if node.op == "get_attr" or isinstance(node.target, torch._ops.HigherOrderOperator):
            raise UnsupportedError(
                f"[program] truncate_double: control flow in float64 is not supported ({node.name})"
            )
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._nodes.__getitem__)
        args, kwargs = _single(args), _single(kwargs)
        copy = self._new.create_node(node.op, node.target, args, kwargs, name, node.type)
        copy.meta = dict(node.meta)
        if node.op == "call_function" and self._is_other(node, copy):
            copy.meta["val"] = self._value(copy)
        return copy

    def _is_other(self, node: fx.Node, copy: fx.Node) -> bool:
        reads = any(
            getattr(old, "dtype", None) != getattr(new, "dtype", None)
            for a in node.all_input_nodes
            for old, new in zip(_values(a), _values(self._nodes[a]), strict=True)
        )
        return reads or any(_is_double(value) for value in _values(copy))

    def _value(self, node: fx.Node) -> Any:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
        target: Any = node.target
        try:
            with self._mode, torch.no_grad():
                return target(*args, **kwargs)
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise UnsupportedError(
                f"[program] truncate_double: {target} ({node.name}) does not take float32: {error}"
            ) from error

    def _cast(self, node: fx.Node, name: str, dtype: torch.dtype) -> fx.Node:
        target = torch.ops.aten._to_copy.default
        cast = self._new.create_node("call_function", target, (node,), {"dtype": dtype}, name)
        cast.meta = {k: v for k, v in node.meta.items() if k not in ("val", "tensor_meta")}
        cast.meta["val"] = self._value(cast)
        return cast


def _values(node: fx.Node) -> list[Any]:
    value = node.meta.get("val")
    return list(value) if isinstance(value, tuple | list) else [value]


def _is_double(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float64


def _single(value: Any) -> Any:
    """Arguments with float32 where they name float64."""
    if isinstance(value, tuple | list):
        return type(value)(_single(v) for v in value)
    if isinstance(value, Mapping):
        return {k: _single(v) for k, v in value.items()}
    return torch.float32 if value is torch.float64 else value
