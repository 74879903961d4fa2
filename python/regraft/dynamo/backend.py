"""The entry point of torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from regraft.dynamo.compiled import CompiledGraph
from regraft.dynamo.fallback import fall_back, in_pytorch, warn
from regraft.dynamo.inputs import example, sort_inputs
from regraft.dynamo.options import Options
from regraft.dynamo.outputs import sort_outputs
from regraft.errors import StateError, UnsupportedError


def backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
    **given: Any,
) -> Callable[..., Any]:
    """Compiles one graph of torch.compile.

    Every call first asks whether weights changed, and refits the engine with those that did: new
    weights never compile again.

    Args:
        graph: The graph; parameters and buffers are inputs of it.
        example_inputs: Its inputs.
        options: As for ``regraft.compile``, and ``track``, ``fallback_on_grad`` and
            ``require_full_compilation``; see ``docs/torch_compile.md``.
        mode: Modes are those of other backends; only "default" is one here.

    Returns:
        A function of the graph's inputs. What is wrong with ``options`` is raised when it is
        called: torch.compile wraps the errors of a backend, but not those of its functions.
    """
    try:
        parsed = Options.parse(options)
        if mode not in (None, "default"):
            raise TypeError(f"[dynamo] mode: want 'default', have {mode!r}; use options=")
        return _compile(graph, example_inputs, parsed)
    except Exception as error:
        return _raising(error)


def _compile(
    graph: fx.GraphModule, example_inputs: Sequence[Any], options: Options
) -> Callable[..., Any]:
    if torch.is_grad_enabled() and _requires_grad(graph):
        message = (
            "[dynamo] the graph's outputs require grad, and engines do inference only; call the "
            "compiled model under torch.no_grad()"
        )
        if not options.fallback_on_grad:
            return _raising(StateError(message))
        warn(f"{message}. The graph runs in PyTorch.")
        return in_pytorch(graph)
    try:
        inputs = sort_inputs(graph.graph)
        outputs = sort_outputs(graph.graph, inputs)
        if not outputs.computed:
            return in_pytorch(graph)
        return CompiledGraph(graph, inputs, outputs, example_inputs, options)
    except UnsupportedError as error:
        return fall_back(graph, error, options)


def _requires_grad(graph: fx.GraphModule) -> bool:
    (returned,) = graph.graph.output_node().args
    assert isinstance(returned, tuple | list)
    values = [example(node) for node in returned if isinstance(node, fx.Node)]
    return any(isinstance(value, torch.Tensor) and value.requires_grad for value in values)


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise error

    return fail
