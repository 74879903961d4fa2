"""From a module or an ExportedProgram to an engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument

from regraft import _regraft
from regraft._handover import hand_over, plain, rows_of
from regraft.cache import DEFAULT_SIZE, BaseEngineCache, cache_options
from regraft.engine import Engine, engine_options
from regraft.errors import InvalidArgumentError

Model: TypeAlias = torch.nn.Module | ExportedProgram | str | os.PathLike[str]
Progress: TypeAlias = Callable[[str, str, float, Callable[[], str]], None]


def compile(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    backend: str = "cpu",
    precision: str = "f32",
    optimum: tuple[torch.Tensor, ...] | Mapping[str, int] | None = None,
    name: str | None = None,
    retain: str = "auto",
    strip_weights: bool = False,
    realised: str = "",
    disabled_passes: Sequence[str] = (),
    cache_built_engines: bool = False,
    reuse_cached_engines: bool = False,
    engine_cache_dir: str | os.PathLike[str] | None = None,
    engine_cache_size: int = DEFAULT_SIZE,
    custom_engine_cache: BaseEngineCache | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Compiles a trained program into an engine whose weights can be replaced in milliseconds.

    Args:
        model: A module in evaluation mode, an ExportedProgram, or the path of a ``.pt2`` file.
        args, kwargs: Example inputs of a module, as for ``torch.export.export``.
        dynamic_shapes: As for ``torch.export.export``; for modules only.
        backend: One of ``regraft.backends()``.
        precision: What is computed where the program says float32: "f32", "bf16" or "f16". Inputs
            and outputs keep their dtypes; weights are folded in float32 and rounded once.
        optimum: Sizes to tune for: tensors of the flat inputs, or sizes by symbol of the signature.
        name: For messages; the module's class name by default.
        retain: Which parameters stay at hand for partial refits and saving: "auto", "host", "none".
        strip_weights: Leave the weights out; the engine must be refitted before it runs.
        realised: Text of ``Engine.realised_plan()`` whose choices to repeat.
        disabled_passes: Names out of ``regraft.pass_names()``.
        cache_built_engines: Leave the compiled plan in the engine cache.
        reuse_cached_engines: Look into the engine cache before compiling; the weights are always
            those of ``model``. ``Engine.from_cache`` says whether the plan was there.
        engine_cache_dir: The cache's folder; the user's own by default.
        engine_cache_size: Bytes that it may take; the least recently used entries go first.
        custom_engine_cache: Use this cache instead of a folder.
        progress: Called after every pass with stage, pass, seconds and a function that gives the
            text of what the pass left.

    Raises:
        UnsupportedError: Ops without a kernel; lists every one with its place in the model.
        InvalidArgumentError: Options that do not fit.
    """
    program, call, own_name, kept = _program(model, args, dict(kwargs or {}), dynamic_shapes)
    options: dict[str, Any] = {
        "backend": backend,
        "precision": precision,
        "name": name or own_name,
        "weights": not strip_weights,
        "disabled_passes": list(disabled_passes),
        "engine": engine_options(retain, realised),
        "metadata": {"call": call} if call else {},
        **cache_options(
            cache_built_engines,
            reuse_cached_engines,
            engine_cache_dir,
            engine_cache_size,
            custom_engine_cache,
        ),
    }
    if optimum is not None:
        options["optimum"] = _optimum(program, optimum)
    engine = Engine(_regraft.compile(program, options, progress))
    del kept
    return engine


def explain(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    backend: str = "cpu",
    precision: str = "f32",
) -> str:
    """Which backend takes which node and why not, and which parameter feeds which constants.

    Arguments as for ``compile``. Works for programs that ``compile`` refuses.
    """
    program, _, _, kept = _program(model, args, dict(kwargs or {}), dynamic_shapes)
    text = _regraft.explain(program, {"backend": backend, "precision": precision})
    del kept
    return text


def _program(
    model: Model, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any
) -> tuple[_regraft.Program, str | None, str, object]:
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        program = _regraft.Program.read(path)
        return program, None, os.path.splitext(os.path.basename(path))[0], None
    own_name = type(model).__name__
    if isinstance(model, torch.nn.Module):
        if model.training:
            raise InvalidArgumentError(
                "[program] the module is in training mode; call model.eval() before compiling"
            )
        with torch.no_grad():
            model = torch.export.export(model, args, kwargs or None, dynamic_shapes=dynamic_shapes)
    elif not isinstance(model, ExportedProgram):
        raise TypeError(
            "want a torch.nn.Module, an ExportedProgram or the path of a .pt2 file, have "
            f"{own_name}"
        )
    elif args or kwargs or dynamic_shapes is not None:
        raise InvalidArgumentError(
            "[program] an ExportedProgram brings its own inputs and shapes; pass it alone"
        )
    handover = hand_over(model)
    rows, kept = rows_of(handover.tensors)
    call = {
        "in_spec": handover.in_spec,
        "out_spec": handover.out_spec,
        "tensor_leaves": _tensor_leaves(model),
    }
    program = _regraft.Program.from_json(handover.json, rows)
    return program, json.dumps(call), own_name, kept


def _tensor_leaves(program: ExportedProgram) -> list[int]:
    """Which leaves of the call are tensors the graph takes."""
    specs = [s for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    return [i for i, spec in enumerate(specs) if isinstance(spec.arg, TensorArgument)]


def _optimum(
    program: _regraft.Program, optimum: tuple[torch.Tensor, ...] | Mapping[str, int]
) -> dict[str, int]:
    if isinstance(optimum, Mapping):
        return dict(optimum)
    sizes: dict[str, int] = {}
    for spec, tensor in zip(program.inputs(), optimum, strict=True):
        for dim, size in zip(spec.dims, plain(tensor).shape, strict=True):
            if dim.isidentifier():
                sizes[dim] = int(size)
    return sizes
