"""A compiled graph: its engine, and the watch over the weights it is called with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from regraft._compile import compile
from regraft.dynamo.fallback import fall_back
from regraft.dynamo.inputs import Inputs
from regraft.dynamo.options import Options
from regraft.dynamo.outputs import Outputs, sizes_of
from regraft.dynamo.program import call_tensors, export_graph
from regraft.engine import Engine
from regraft.errors import MismatchError, UnsupportedError
from regraft.tracking import WeightTracker


class CompiledGraph:
    """Called with the inputs of a graph of torch.compile, weights among them.

    Thread-safety: may be called from several threads; a call runs with weights at least as new as
    those it was called with.

    Args:
        graph: The graph.
        inputs, outputs: Of the graph, sorted out.
        args: Example inputs.
        options: Of torch.compile.

    Raises:
        UnsupportedError: Regraft cannot take the graph.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        inputs: Inputs,
        outputs: Outputs,
        args: Sequence[Any],
        options: Options,
    ) -> None:
        self._graph = graph
        self._inputs = inputs
        self._outputs = outputs
        self._options = options
        self._settings = options.settings
        self._weights_at = [weight.at for weight in inputs.weights]
        self._lock = threading.Lock()
        # By sizes, for calls that the general engine (None) does not take.
        self._engines: dict[tuple[int, ...] | None, Engine] = {}
        program, names = export_graph(graph, inputs, outputs.computed, args)
        # The tracker looks first: a write during the compilation is found at the first call.
        self._tracker = WeightTracker(names, self._weights(args), options.track)
        self._engines[None] = compile(program, **self._settings)

    def __call__(self, *args: Any) -> Any:
        """Runs the graph; takes changed weights first.

        Raises:
            UnsupportedError: Engines cannot take the integers of the call, and the options want
                nothing to run in PyTorch.
        """
        try:
            tensors = call_tensors(self._inputs, args)
        except UnsupportedError as error:
            return fall_back(self._graph, error, self._options)(*args)
        self._follow(self._weights(args))
        with torch.no_grad():
            computed = self._run(args, tensors)
        sizes = sizes_of(self._inputs, args)
        return tuple(make(computed, args, sizes) for make in self._outputs.makers)

    def _weights(self, args: Sequence[Any]) -> list[torch.Tensor]:
        return [args[at] for at in self._weights_at]

    def _follow(self, weights: list[torch.Tensor]) -> None:
        with self._lock:
            changed = self._tracker.changed(weights)
            if not changed:
                return
            by_name = dict(zip(self._tracker.names, weights, strict=True))
            for engine in self._engines.values():
                engine.refit({name: by_name[name] for name in changed}, partial=True)
            self._tracker.accept()

    def _run(self, args: Sequence[Any], tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        sizes = tuple(size for tensor in tensors for size in tensor.shape)
        engine = self._engines.get(sizes) if len(self._engines) > 1 else None
        if engine is not None:
            return _tuple(engine(*tensors))
        try:
            return _tuple(self._engines[None](*tensors))
        except MismatchError:
            # The export fixed a size that torch.compile left free.
            return _tuple(self._engine_for(sizes, args)(*tensors))

    def _engine_for(self, sizes: tuple[int, ...], args: Sequence[Any]) -> Engine:
        with self._lock:
            if sizes not in self._engines:
                program, _ = export_graph(
                    self._graph, self._inputs, self._outputs.computed, args, dynamic=False
                )
                # A write since the last check is found at the next call, for this engine too.
                self._engines[sizes] = compile(program, **self._settings)
            return self._engines[sizes]


def _tuple(outputs: Any) -> Sequence[torch.Tensor]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
