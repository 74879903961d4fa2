"""Cuts the graph of a functional program into engines and PyTorch segments, as the core decided."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from regraft import _regraft
from regraft.module import bank as runtime


@dataclass(frozen=True)
class Segment:
    """Nodes that run together.

    Attributes:
        name: Of the submodule: "engine_0", "torch_1".
        inputs: Values by their names in the exported graph; with a dimension, that size alone.
        outputs: Names of its results.
        weights: Of a PyTorch segment: the parameters that it takes before its inputs.
    """

    name: str
    is_engine: bool
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What a module's graph is made from, besides its submodules.

    Attributes:
        segments: In the order in which they run.
        inputs: Names of the tensors and numbers that a call brings.
        outputs: Names of what it returns, of values or (second) of parameters.
    """

    segments: tuple[Segment, ...]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]


def layout_of(
    program: ExportedProgram, core: _regraft.Program, info: _regraft.PartitionInfo
) -> Layout:
    """Names the segments of a program and what crosses between them."""
    canonical = canonical_names(core)
    parameters = _parameter_inputs(program, canonical)
    segments = []
    for i, segment in enumerate(info.segments):
        is_engine = bool(segment.backend)
        weights: tuple[str, ...] = ()
        if not is_engine:
            weights = tuple(parameters[n] for n in _weights_read(program, segment, parameters))
        segments.append(
            Segment(
                name=f"{'engine' if is_engine else 'torch'}_{i}",
                is_engine=is_engine,
                inputs=tuple((x.name, x.dim) for x in segment.inputs),
                outputs=tuple(segment.outputs),
                weights=weights,
            )
        )
    return Layout(
        tuple(segments), tuple(_user_inputs(program)), tuple(_outputs(program, canonical))
    )


def canonical_names(core: _regraft.Program) -> dict[str, str]:
    """Name or alias of a parameter -> the name of its entry in the table."""
    names = {}
    for parameter in core.parameters():
        names.update(dict.fromkeys([parameter.name, *parameter.aliases], parameter.name))
    return names


def _parameter_inputs(program: ExportedProgram, canonical: Mapping[str, str]) -> dict[str, str]:
    return {
        spec.arg.name: canonical[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target in canonical and spec.kind != InputKind.USER_INPUT
    }


def _user_inputs(program: ExportedProgram) -> list[str]:
    specs = [s for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    return [s.arg.name for s in specs if not isinstance(s.arg, ConstantArgument)]


def _outputs(program: ExportedProgram, canonical: Mapping[str, str]) -> list[tuple[str, str]]:
    parameters = _parameter_inputs(program, canonical)
    out = []
    for spec in program.graph_signature.output_specs:
        if spec.kind != OutputKind.USER_OUTPUT or isinstance(spec.arg, ConstantArgument):
            continue
        name = spec.arg.name
        out.append(("", parameters[name]) if name in parameters else (name, ""))
    return out


def _nodes_of(program: ExportedProgram, segment: _regraft.SegmentInfo) -> list[fx.Node]:
    """The segment's nodes; of one with several results, the picks of them too."""
    wanted = set(segment.nodes)
    nodes: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        picks = node.op == "call_function" and node.target is operator.getitem
        if node.name in wanted or (picks and node.args[0] in nodes):
            nodes[node] = None
    return list(nodes)


def _weights_read(
    program: ExportedProgram, segment: _regraft.SegmentInfo, parameters: Mapping[str, str]
) -> list[str]:
    read: dict[str, None] = {}
    for node in _nodes_of(program, segment):
        read.update(dict.fromkeys(n.name for n in node.all_input_nodes if n.name in parameters))
    return list(read)


def torch_segment(
    program: ExportedProgram, core: _regraft.Program, info: _regraft.SegmentInfo, name: str
) -> fx.GraphModule:
    """The nodes of a PyTorch segment: takes its weights, then its inputs; gives a tuple."""
    parameters = _parameter_inputs(program, canonical_names(core))
    graph = fx.Graph()
    known: dict[fx.Node, fx.Node] = {}
    by_name = {node.name: node for node in program.graph.nodes}
    root: dict[str, Any] = {}
    takes = [*_weights_read(program, info, parameters), *(x.name for x in info.inputs)]
    for taken in takes:
        node = graph.placeholder(taken)
        node.meta = dict(by_name[taken].meta)
        known[by_name[taken]] = node

    def value(node: fx.Node) -> fx.Node:
        if node not in known and node.op == "get_attr":  # The body of a region.
            root[str(node.target)] = operator.attrgetter(str(node.target))(program.graph_module)
            known[node] = graph.node_copy(node, value)
        return known[node]

    for node in _nodes_of(program, info):
        known[node] = graph.node_copy(node, value)
    graph.output(tuple(known[by_name[output]] for output in info.outputs))
    return fx.GraphModule(root, graph, class_name=name)


def computed_once(layout: Layout, torch_segments: Mapping[str, fx.GraphModule]) -> set[str]:
    """Names of the PyTorch segments that need not run in every call: they read weights alone, and
    nothing but engines, which only read, gets what they give."""
    read_elsewhere = {name for name, _ in layout.outputs}
    for segment in layout.segments:
        if not segment.is_engine:
            read_elsewhere.update(name for name, _ in segment.inputs)
    return {
        segment.name
        for segment in layout.segments
        if not segment.is_engine
        and segment.weights
        and not segment.inputs
        and read_elsewhere.isdisjoint(segment.outputs)
        and all(map(_is_repeatable, torch_segments[segment.name].graph.nodes))
    }


def _is_repeatable(node: fx.Node) -> bool:
    """Whether a node gives the same in every call."""
    if node.op in ("placeholder", "output") or node.target is operator.getitem:
        return True
    # Of other libraries' ops, nothing says so.
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and node.target.namespace in ("aten", "prims")
        and not node.target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in node.target.tags
    )


def make_graph(layout: Layout, once: Set[str] = frozenset()) -> fx.Graph:
    """The graph of a module: takes a bank and the inputs, calls the segments, gives a tuple.

    Args:
        once: ``computed_once``.
    """
    graph = fx.Graph()
    bank = graph.placeholder("bank" if "bank" not in layout.inputs else "bank_of_module")
    values = {name: graph.placeholder(name) for name in layout.inputs}
    for segment in layout.segments:
        args: list[fx.Node] = []
        for name in segment.weights:
            args.append(graph.call_function(runtime.weight, (bank, name)))
        for name, dim in segment.inputs:
            value = values[name]
            args.append(value if dim < 0 else graph.call_function(runtime.size_of, (value, dim)))
        if segment.is_engine or segment.name in once:
            args.insert(0, bank)
        results = graph.call_module(segment.name, tuple(args))
        for i, name in enumerate(segment.outputs):
            values[name] = graph.call_function(operator.getitem, (results, i))
    outputs: list[fx.Node] = []
    for name, parameter in layout.outputs:
        if parameter:
            outputs.append(graph.call_function(runtime.weight, (bank, parameter)))
        else:
            outputs.append(values[name])
    graph.output(tuple(outputs))
    return graph


def torch_weights(layout: Layout) -> list[str]:
    """Parameters that something outside of the engines reads."""
    names = [name for segment in layout.segments for name in segment.weights]
    names += [parameter for _, parameter in layout.outputs if parameter]
    return list(dict.fromkeys(names))


def submodules(
    layout: Layout,
    engines: Sequence[Any],
    torch_segments: Mapping[str, fx.GraphModule],
    once: Set[str] = frozenset(),
) -> torch.nn.Module:
    """The modules that the graph calls."""
    root = torch.nn.Module()
    remaining = iter(enumerate(engines))
    for segment in layout.segments:
        if segment.is_engine:
            index, engine = next(remaining)
            root.add_module(segment.name, runtime.EngineSegment(engine, index))
        else:
            graph = torch_segments[segment.name]
            is_once = segment.name in once
            part = runtime.WeightSegment(segment.name, graph) if is_once else graph
            root.add_module(segment.name, part)
    return root
