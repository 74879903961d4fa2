"""The backend "torch_tensorrt" of torch.compile; importing the mirror module registers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx
from torch._dynamo.backends import registry

import regraft.dynamo
from regraft.torch_tensorrt._options import list_ignored, settings_of

_OWN = ("track", "fallback_on_grad")
# An engine of torch.compile has its weights, and is compiled at some later call.
_AHEAD_OF_TIME = ("strip_engine_weights", "dryrun", "debug")


def torch_tensorrt_backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    **given: Any,
) -> Callable[..., Any]:
    """Compiles one graph of torch.compile, as the backend "regraft" does.

    Args:
        graph: The graph.
        example_inputs: Its inputs.
        options: As for ``torch_tensorrt.dynamo.compile``, and ``track`` and ``fallback_on_grad``.

    Returns:
        A function of the graph's inputs; what is wrong with ``options`` is raised by its call.
    """
    try:
        settings = jit_settings(options or {})
    except (TypeError, ValueError) as error:
        return _raising(error)
    return regraft.dynamo.backend(graph, example_inputs, options=settings, **given)


def jit_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the backend "regraft" for those of torch.compile.

    Raises:
        TypeError, InvalidArgumentError: Unknown options, or values that do not fit.
    """
    settings = settings_of(options, *_OWN)
    list_ignored({name: options[name] for name in _AHEAD_OF_TIME if options.get(name)})
    settings = {name: value for name, value in settings.items() if name not in _AHEAD_OF_TIME}
    return settings | {name: options[name] for name in _OWN if name in options}


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise error

    return fail


def register() -> None:
    """Makes the backend known, unless Torch-TensorRT itself has done so."""
    for name in ("torch_tensorrt", "tensorrt"):
        if name not in registry.list_backends(()):
            registry.register_backend(torch_tensorrt_backend, name)
