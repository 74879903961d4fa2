"""From a graph of torch.compile to an ExportedProgram: weights by name, sizes as dims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.utils._python_dispatch import _disable_current_modes

from regraft._tracing import tracing_lock
from regraft.dynamo.inputs import Inputs, Size
from regraft.errors import UnsupportedError


class _Program(nn.Module):
    """A graph whose weights are parameters of the module, and sizes those of its inputs."""

    def __init__(
        self, graph: fx.GraphModule, inputs: Inputs, tensors: Sequence[torch.Tensor]
    ) -> None:
        super().__init__()
        self.training = False
        self._graph = graph
        self._inputs = inputs
        self._slots: list[tuple[nn.Module, str]] = []
        for weight, tensor in zip(inputs.weights, tensors, strict=True):
            *path, key = weight.name.split(".")
            holder: nn.Module = self
            for part in path:
                holder = _child(holder, part)
            key = _free(holder, key)
            if isinstance(tensor, nn.Parameter):
                holder.register_parameter(key, tensor)
            else:
                holder.register_buffer(key, tensor)
            self._slots.append((holder, key))

    def forward(self, *call: torch.Tensor) -> Any:
        args: dict[int, Any] = {}
        for weight, (holder, key) in zip(self._inputs.weights, self._slots, strict=True):
            args[weight.at] = getattr(holder, key)
        count = len(self._inputs.activations)
        for activation, tensor in zip(self._inputs.activations, call[:count], strict=True):
            args[activation.at] = tensor
        carriers = iter(call[count:])
        for size in self._inputs.sizes:
            if size.source is None:
                args[size.at] = next(carriers).shape[0]
            else:
                args[size.at] = args[size.source].shape[size.dim]
        return self._graph(*(args[i] for i in range(len(args))))

    def name_of(self, weight: int) -> str:
        """The name of a weight in the ``state_dict``."""
        holder, key = self._slots[weight]
        (path,) = [name for name, module in self.named_modules() if module is holder]
        return f"{path}.{key}" if path else key


def carrier(size: int) -> torch.Tensor:
    """A size that no tensor of the call has, as an input of an engine: an empty tensor.

    Raises:
        UnsupportedError: It is negative.
    """
    if size < 0:
        raise UnsupportedError("[dynamo] an integer of the call is negative, and no size")
    return torch.empty(size, 0, device="cpu")


def call_tensors(inputs: Inputs, args: Sequence[Any]) -> list[torch.Tensor]:
    """The inputs of the program at one call of the graph.

    Raises:
        UnsupportedError: As ``carrier``.
    """
    tensors = [args[activation.at] for activation in inputs.activations]
    tensors += [carrier(_plain_int(args[s.at])) for s in inputs.sizes if s.source is None]
    return tensors


def _plain_int(value: Any) -> int:
    # int() of a symbol would tell torch.compile to compile again for every other value.
    return int(value.node.hint if isinstance(value, torch.SymInt) else value)


def export_graph(
    graph: fx.GraphModule,
    inputs: Inputs,
    computed: Sequence[fx.Node],
    args: Sequence[Any],
    *,
    dynamic: bool = True,
) -> tuple[ExportedProgram, list[str]]:
    """Exports what a graph computes.

    Args:
        graph: A graph of torch.compile.
        inputs: Its inputs.
        computed: Values to return.
        args: Example inputs of the graph.
        dynamic: Whether free dims stay free.

    Returns:
        The program, and the names of the weights in it.

    Raises:
        UnsupportedError: The graph writes to its inputs, or cannot be exported.
    """
    weights = [_without_mode(args[weight.at]) for weight in inputs.weights]
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        program = _Program(_returning(graph, computed), inputs, weights)
        tensors = tuple(_without_mode(t).detach() for t in call_tensors(inputs, args))
        shapes = {"call": _shapes(inputs)} if dynamic else None
        with tracing_lock(), torch._guards.tracing(None):
            try:
                exported = torch.export.export(program, tensors, dynamic_shapes=shapes)
                # Functional: only then does the signature tell what the graph writes to.
                exported = exported.run_decompositions({})
            except Exception as error:
                raise UnsupportedError(f"[dynamo] the graph cannot be exported: {error}") from error
    _refuse_writes(exported)
    return exported, [program.name_of(i) for i in range(len(weights))]


def _refuse_writes(program: ExportedProgram) -> None:
    specs = program.graph_signature.output_specs
    written = [s.target or s.arg.name for s in specs if s.kind is not OutputKind.USER_OUTPUT]
    if written:
        raise UnsupportedError(f"[dynamo] the graph writes to its inputs {', '.join(written)}")


def _returning(graph: fx.GraphModule, computed: Sequence[fx.Node]) -> fx.GraphModule:
    # All nodes stay: one without users may write to an input.
    copy = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    copy.graph_copy(graph.graph, nodes)
    copy.output(tuple(nodes[node] for node in computed))
    return fx.GraphModule(graph, copy)


def _shapes(inputs: Inputs) -> tuple[Any, ...]:
    shapes: list[Any] = [dict.fromkeys(a.free, Dim.AUTO) for a in inputs.activations]
    shapes += [{0: Dim.AUTO} for size in inputs.sizes if _is_carried(size)]
    return tuple(shapes)


def _is_carried(size: Size) -> bool:
    return size.source is None


def _without_mode(tensor: torch.Tensor) -> torch.Tensor:
    # torch.export cannot trace tensors made under inference mode; outside it a clone is an
    # ordinary tensor.
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        clone = tensor.clone()
    return nn.Parameter(clone) if isinstance(tensor, nn.Parameter) else clone


def _child(module: nn.Module, name: str) -> nn.Module:
    child = module._modules.get(name)
    if child is None:
        name = _free(module, name)
        child = nn.Module()
        module.add_module(name, child)
    return child


def _free(module: nn.Module, name: str) -> str:
    # Names of nn.Module's own attributes cannot be names of weights.
    while hasattr(module, name):
        name += "_"
    return name
