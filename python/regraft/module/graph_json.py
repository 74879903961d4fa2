"""Graphs of PyTorch segments as JSON: what a saved module holds of them.

Nothing in the text is ever evaluated: a target is looked up among PyTorch's registered ops that
compute (``is_computation``) and a short list of functions on numbers; names are identifiers.
"""

from __future__ import annotations

import keyword
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from regraft.errors import CorruptError, UnsupportedError

_KINDS: dict[str, type] = {
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}
_OPERATORS = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos", "eq", "ne", "lt"),
    *("le", "gt", "ge", "and_", "or_", "not_", "getitem"),
)
_SYM = ("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum")
_NUMBERS: dict[str, Callable[..., Any]] = {
    **{f"operator.{name}": getattr(operator, name) for name in _OPERATORS},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{f"torch.{name}": getattr(torch, name) for name in _SYM if hasattr(torch, name)},
}
_NAMES = {id(function): name for name, function in _NUMBERS.items()}
# Of the ops that take regions, those that only run them.
_REGIONS = (
    *("associative_scan", "cond", "invoke_subgraph", "map_impl", "scan", "strict_mode", "switch"),
    *("tag_activation_checkpoint", "while_loop", "wrap", "wrap_activation_checkpoint"),
    *("wrap_with_autocast", "wrap_with_set_grad_enabled"),
)
# They give nothing, but stop a call.
_CHECKS = (
    *("aten::_assert_async", "aten::_assert_scalar", "aten::_assert_tensor_metadata"),
    *("aten::sym_constrain_range", "aten::sym_constrain_range_for_size"),
)
# Libraries of PyTorch that are about the process, its devices and others, not about tensors.
_OF_THE_PROCESS = (
    *("_c10d_functional", "_c10d_functional_autograd", "_dtensor", "c10d", "c10d_functional"),
    *("coor", "cuda", "debug_mode_ops", "debugprims", "fsdp", "inductor", "mempool", "prim"),
    *("profiler", "static_runtime", "streams", "symm_mem"),
)
_PLACES = {"dir", "directory", "file", "filename", "filepath", "folder", "path", "uri", "url"}


def graph_to_json(module: fx.GraphModule) -> dict[str, Any]:
    """The graph of a module whose targets are ops.

    Raises:
        UnsupportedError: It has something that only lives in this process; lists every such node.
    """
    nodes: list[dict[str, Any]] = []
    problems: list[str] = []
    for node in module.graph.nodes:
        entry: dict[str, Any] = {"name": node.name, "op": node.op}
        try:
            if node.op == "call_function":
                entry["target"] = _target_to_json(node.target)
            elif node.op == "get_attr":
                region = operator.attrgetter(str(node.target))(module)
                if not isinstance(region, fx.GraphModule):
                    raise UnsupportedError(f"an attribute of type {type(region).__name__}")
                entry["region"] = graph_to_json(region)
            elif node.op not in ("placeholder", "output"):
                raise UnsupportedError(f"a node of kind {node.op}")
            entry["args"] = [_to_json(arg) for arg in node.args]
            entry["kwargs"] = {name: _to_json(arg) for name, arg in node.kwargs.items()}
        except UnsupportedError as error:
            problems.append(f"{node.name}: {error}")
        nodes.append(entry)
    if problems:
        raise UnsupportedError(
            "[module_file] these nodes cannot be saved:\n  " + "\n  ".join(problems)
        )
    return {"nodes": nodes}


def graph_from_json(data: Mapping[str, Any], name: str) -> fx.GraphModule:
    """The module that ``graph_to_json`` wrote.

    Raises:
        CorruptError: The text does not describe a graph.
        UnsupportedError: It uses ops that are not registered here; lists every one.
    """
    graph = fx.Graph()
    known: dict[str, fx.Node] = {}
    root: dict[str, Any] = {}
    missing: list[str] = []
    for entry in data["nodes"]:
        op, own = entry["op"], str(entry["name"])
        args = tuple(_from_json(arg, known) for arg in entry["args"])
        kwargs = {identifier(k): _from_json(v, known) for k, v in entry["kwargs"].items()}
        if op == "placeholder":
            node = graph.placeholder(identifier(own))
        elif op == "output":
            node = graph.output(*args)
        elif op == "get_attr":
            target = f"region_{len(root)}"
            root[target] = graph_from_json(entry["region"], target)
            node = graph.create_node("get_attr", target)
        elif op == "call_function":
            function = _target_from_json(str(entry["target"]))
            if function is None:
                missing.append(str(entry["target"]))
                function = operator.pos
            else:
                _want_arguments(function, kwargs)
            node = graph.create_node("call_function", function, args, kwargs)
        else:
            raise CorruptError(f"[module_file] {name}: a node of kind {op!r}")
        known[own] = node
    if missing:
        raise UnsupportedError(
            "[module_file] these ops are not registered here; import the library that has them: "
            + ", ".join(sorted(set(missing)))
        )
    graph.lint()
    return fx.GraphModule(root, graph, class_name=name)


def identifier(name: str) -> str:
    """The name, which PyTorch writes into the source of a graph as it is.

    Raises:
        CorruptError: It cannot be the name of a variable.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise CorruptError(f"[module_file] {name[:100]!r} is no name")
    return name


def _want_arguments(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    if isinstance(function, torch._ops.HigherOrderOperator):
        return
    known = set()
    if isinstance(function, torch._ops.OpOverload):
        known = {argument.name for argument in function._schema.arguments}
    for name in kwargs:
        if name not in known:
            raise CorruptError(f"[module_file] {function} has no argument {name[:100]!r}")


def is_computation(op: torch._ops.OpOverload) -> bool:
    """Whether an op gives values of its arguments and touches neither files nor the process.

    Programs are functional: their ops write to no argument. Text says how to compute (a mode, an
    equation), so an op that takes text takes and gives tensors, and none is the place of a file.
    """
    schema = op._schema
    if op.namespace in _OF_THE_PROCESS or schema.is_mutable:
        return False
    if schema.name in _CHECKS:
        return True
    texts = [x.name for x in schema.arguments if "str" in str(x.type)]
    if not texts:
        return bool(schema.returns)
    has_tensors = all(
        any("Tensor" in str(x.type) for x in values)
        for values in (schema.arguments, schema.returns)
    )
    return has_tensors and all(_PLACES.isdisjoint(name.lower().split("_")) for name in texts)


def _target_to_json(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        if not is_computation(target):
            raise UnsupportedError(f"a call of {target}, which may do more than compute")
        return f"{target._schema.name}.{target._overloadname}"
    if isinstance(target, torch._ops.HigherOrderOperator) and target.name() in _REGIONS:
        return f"higher_order::{target.name()}"
    if id(target) in _NAMES:
        return _NAMES[id(target)]
    raise UnsupportedError(f"a call of {target!r}")


def _target_from_json(text: str) -> Callable[..., Any] | None:
    if text in _NUMBERS:
        return _NUMBERS[text]
    space, colons, rest = text.partition("::")
    if not colons or not all(part.isidentifier() for part in (space, *rest.split("."))):
        raise CorruptError(f"[module_file] {text[:100]!r} is no op")
    if space == "higher_order":
        if rest not in _REGIONS:
            raise CorruptError(f"[module_file] {text[:100]!r} is no op that only runs its regions")
        found = getattr(torch.ops.higher_order, rest, None)
        return found if isinstance(found, torch._ops.HigherOrderOperator) else None
    name, _, overload = rest.rpartition(".")
    packet = getattr(getattr(torch.ops, space, None), name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or overload not in packet.overloads():
        return None
    op = getattr(packet, overload)
    if not is_computation(op):
        raise CorruptError(f"[module_file] {text[:100]!r} may do more than compute")
    out: Callable[..., Any] = op
    return out


def _to_json(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}  # Exact, infinities and NaN included.
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for kind, cls in _KINDS.items():
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    raise UnsupportedError(f"an argument of type {type(value).__name__}")


def _from_json(value: Any, known: Mapping[str, fx.Node]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list):
        return [_from_json(item, known) for item in value]
    if isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind == "node":
            return known[text]
        if kind == "float":
            return float.fromhex(text)
        if kind == "device":
            return torch.device(text)
        if kind in _KINDS:
            found = getattr(torch, text, None)
            if isinstance(found, _KINDS[kind]):
                return found
    raise CorruptError(f"[module_file] {str(value)[:100]} is no argument")
