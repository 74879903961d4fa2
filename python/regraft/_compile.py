"""From a module or an ExportedProgram to an engine, or a module of engines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram

from regraft import _regraft
from regraft._calling import call_text
from regraft._cuda import device_name
from regraft._exporting import export, is_training, let_go_of_caches
from regraft._handover import Handover, functional, hand_over, is_functional, rows_of
from regraft._placement import placed
from regraft._want import have, path_text, want_call, want_type
from regraft.cache import cache_options
from regraft.engine import Engine, engine_options
from regraft.errors import CorruptError, InvalidArgumentError, MismatchError, UnsupportedError
from regraft.lora.base_view import BaseView, base_view, has_adapters
from regraft.lora.call_scale import call_scale
from regraft.module.build import build_module, identity_of
from regraft.module.module import Module
from regraft.module.table import make_table
from regraft.module.whole import whole_module
from regraft.settings import CompilationSettings, Progress, make_settings, settings_text
from regraft.truncation import truncated

Model: TypeAlias = torch.nn.Module | ExportedProgram | str | os.PathLike[str]


def compile(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    progress: Progress | None = None,
    settings: CompilationSettings | None = None,
    **options: Any,
) -> Any:
    """Compiles a trained program into an engine whose weights can be replaced in milliseconds.

    Where one engine cannot take the whole program, the rest runs in PyTorch.

    Args:
        model: A module in evaluation mode, an ExportedProgram, or the path of a ``.pt2`` file. Of
            a module with PEFT layers, the base model is compiled, and the active adapters are
            loaded into the result's ``lora``.
        args, kwargs: Example inputs of a module, as for ``torch.export.export``. The casts of a
            ``torch.autocast`` around the call become part of what is compiled.
        dynamic_shapes: As for ``torch.export.export``; for modules only.
        progress: Called after every pass with stage, pass, seconds and a function that gives the
            text of what the pass left.
        settings: Options together, instead of one by one.
        **options: Fields of ``CompilationSettings``.

    Returns:
        An ``Engine`` of the whole program, or a ``Module`` of engines and PyTorch segments. With
        ``dryrun``, a text that says what would run where and why.

    Raises:
        UnsupportedError: With ``require_full_compilation``, ops without a kernel: lists every one
            with its place in the model. Otherwise, programs that cannot run in parts either. In any
            case, weights that cannot be read, and programs that PyTorch cannot serialise.
        InvalidArgumentError: Options that do not fit.
        TypeError: Unknown options; names the nearest known one.
    """
    if settings is not None and options:
        raise InvalidArgumentError("[pipeline] pass either settings or single options, not both")
    if not isinstance(settings, CompilationSettings | None):
        raise TypeError(f"[pipeline] settings: want CompilationSettings, have {have(settings)}")
    if progress is not None and not callable(progress):
        raise TypeError(f"[pipeline] progress: want a function, have {have(progress)}")
    return _compile(
        model, args, kwargs, dynamic_shapes, progress, settings or make_settings(options)
    )


def compile_module(program: ExportedProgram, settings: CompilationSettings) -> Module | str:
    """``compile`` into a ``Module`` also where one engine takes the whole program; with ``dryrun``,
    the text."""
    compiled: Module | str = _compile(program, (), None, None, None, settings, as_module=True)
    return compiled


def _compile(
    model: Model,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    dynamic_shapes: Any,
    progress: Progress | None,
    settings: CompilationSettings,
    as_module: bool = False,
) -> Any:
    want_call("program", args, kwargs)
    view = _seen_through(model)
    if view is not None:
        _want_replaceable(view, settings)
        view = view.scaled(call_scale(view.module, kwargs or {}))
        model = view.module
    settings = placed(settings, model, (args, kwargs))
    source = open_model(model, args, dict(kwargs or {}), dynamic_shapes, settings)
    compilation = _Compilation(source, settings, progress)
    compiled = compilation.run()
    if as_module and isinstance(compiled, Engine):
        compiled = compilation.as_module(compiled)
    if view is not None and not isinstance(compiled, str):
        compiled.lora.follow(view)
    return compiled


def explain(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    **options: Any,
) -> str:
    """Which backend takes which node and why not, and which parameter feeds which constants.

    Arguments as for ``compile``. Works for programs that ``compile`` refuses.
    """
    settings = make_settings(options)
    want_call("program", args, kwargs)
    view = _seen_through(model)
    model = model if view is None else view.module
    settings = placed(settings, model, (args, kwargs))
    source = open_model(model, args, dict(kwargs or {}), dynamic_shapes, settings)
    return _Compilation(source, settings, None).explain()


def _seen_through(model: Model) -> BaseView | None:
    """The base of a module with PEFT layers; None of anything else."""
    is_wrapped = isinstance(model, torch.nn.Module) and has_adapters(model)
    return base_view(model) if is_wrapped else None


def _want_replaceable(view: BaseView, settings: CompilationSettings) -> None:
    if view.adapters and (settings.immutable_weights or settings.refit_identical_engine_weights):
        raise InvalidArgumentError(
            "[lora] the module has active adapters, which need weights that can be replaced: merge "
            "them (merge_and_unload) or compile without immutable_weights and "
            "refit_identical_engine_weights"
        )


@dataclass
class Source:
    """A program in the core's hands.

    Attributes:
        handover: What PyTorch knows of it; None of a program read from a file.
        exported: The ExportedProgram where the core has it as it was exported, in-place ops and
            all; None where it is functional.
        call: Text of its CallSpec.
        kept: Keeps the weights that the core reads by address.
    """

    core: _regraft.Program
    name: str
    handover: Handover | None = None
    call: str | None = None
    path: str | None = None
    kept: object = None
    exported: ExportedProgram | None = None


def open_model(
    model: Model,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any,
    settings: CompilationSettings | None = None,
) -> Source:
    """Reads or exports what ``compile`` was given.

    Raises:
        TypeError, InvalidArgumentError: It is nothing that can be compiled.
        UnsupportedError: As ``open_program``.
    """
    settings = settings or CompilationSettings()
    truncate = settings.truncate_double
    brings_inputs = isinstance(model, str | os.PathLike | ExportedProgram)
    if brings_inputs and (args or kwargs or dynamic_shapes is not None):
        what = "an ExportedProgram" if isinstance(model, ExportedProgram) else "a .pt2 file"
        raise InvalidArgumentError(
            f"[program] {what} brings its own inputs and shapes; pass it alone"
        )
    if isinstance(model, str | os.PathLike):
        path = path_text(model)
        own_name = os.path.splitext(os.path.basename(path))[0]
        if truncate:
            _regraft.open_source(path)  # Says what is wrong with a file that is none.
            return open_program(torch.export.load(path), own_name, truncate)
        return Source(_regraft.Program.read(path), own_name, path=path)
    own_name = type(model).__name__
    if isinstance(model, torch.nn.Module):
        if is_training(model):
            raise InvalidArgumentError(
                "[program] the module is in training mode; call model.eval() before compiling"
            )
        want_values(model)
        let_go_of_caches(model)
        model = export(model, tuple(args), kwargs, dynamic_shapes)
    elif not isinstance(model, ExportedProgram):
        raise TypeError(
            "want a torch.nn.Module, an ExportedProgram or the path of a .pt2 file, have "
            f"{own_name}"
        )
    return open_program(model, own_name, truncate, weights_device(settings))


def want_values(module: torch.nn.Module) -> None:
    """Raises a TypeError that lists every meta tensor of a module."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    meta = [name for name, tensor in tensors.items() if tensor.is_meta]
    if meta:
        raise TypeError(f"[program] meta tensors, which have no values: {', '.join(meta)}")


def weights_device(settings: CompilationSettings) -> torch.device | None:
    """Whose tensors the engine reads where they lie; None: those of the host only."""
    if settings.backend != "cuda" or not torch.cuda.is_available():
        return None
    device = torch.device(device_name("cuda", settings.device))
    if (device.index or 0) >= torch.cuda.device_count():
        return None  # The core says it in its own words.
    torch.cuda.synchronize(device)
    return device


def open_program(
    program: ExportedProgram,
    name: str,
    truncate: bool = False,
    device: torch.device | None = None,
) -> Source:
    """Hands an ExportedProgram to the core; with ``truncate``, its float64 as float32. Weights on
    ``device`` stay there.

    Raises:
        UnsupportedError: PyTorch cannot serialise it, or the core cannot read a weight.
    """
    if truncate:
        program = truncated(program)
    handover = hand_over(program)
    try:
        rows, kept = rows_of(handover.tensors, device)
    except TypeError as error:
        raise UnsupportedError(f"[program] {error}") from error
    return Source(
        core=_regraft.Program.from_json(handover.json, rows),
        name=name,
        handover=handover,
        call=call_text(handover.program, handover.in_spec, handover.out_spec),
        kept=kept,
        exported=None if is_functional(program) else program,
    )


def compile_source(source: Source, settings: CompilationSettings) -> Any:
    """``compile`` of a program that the core has already."""
    return _Compilation(source, settings, None).run()


class _Compilation:
    """One call of ``compile``, with settings that say the backend."""

    def __init__(
        self, source: Source, settings: CompilationSettings, progress: Progress | None
    ) -> None:
        assert settings.backend is not None
        self._source = source
        self._settings = settings
        self._backend = settings.backend
        self._progress = progress
        self._optimum = _optimum(source.core, settings.optimum)

    def run(self) -> Engine | Module | str:
        settings, source = self._settings, self._source
        has_rules = settings.dryrun or settings.torch_executed_ops or settings.min_block_size > 1
        if not has_rules and (source.path is not None or source.exported is not None):
            try:
                return self._whole()
            except UnsupportedError:
                if settings.require_full_compilation and source.path is not None:
                    raise
            except (CorruptError, MismatchError) as error:
                # PyTorch made the program, so it knows an op that the core understands otherwise.
                if error.stage != "lowering" or source.exported is None:
                    raise
        source = self._functional()
        info = self._partition()
        if settings.dryrun:
            return str(info)
        if info.is_whole:
            return self._whole()
        if settings.require_full_compilation:
            raise UnsupportedError(
                f"[partitioning] require_full_compilation: one engine cannot take it\n{info}"
            )
        assert source.handover is not None
        assert source.call is not None
        return build_module(
            source.handover,
            source.core,
            info,
            settings,
            settings.name or source.name,
            source.call,
            self._optimum,
            lambda part, name: self._engine(part, name, {}),
        )

    def as_module(self, engine: Engine) -> Module:
        """The module of what ``run`` made."""
        source = self._source
        assert source.handover is not None
        assert source.call is not None
        program = source.handover.program
        return whole_module(engine, source.core, program, source.call, self._optimum)

    def _functional(self) -> Source:
        """The source in the form in which PyTorch and the core can share it."""
        source = self._source
        program = source.exported if source.path is None else torch.export.load(source.path)
        if program is not None:
            device = weights_device(self._settings)
            self._source = open_program(functional(program), source.name, device=device)
        return self._source

    def explain(self) -> str:
        if self._source.path is None:
            self._functional()
        text = _regraft.explain(
            self._source.core,
            {"backend": self._backend, "precision": self._settings.precision},
        )
        if self._source.path is not None:
            return text
        info = self._partition()
        return text if info.is_whole else f"{info}\n{text}"

    def _partition(self) -> _regraft.PartitionInfo:
        return _regraft.partition(
            self._source.core,
            {"backend": self._backend},
            list(self._settings.torch_executed_ops),
            self._settings.min_block_size,
        )

    def _whole(self) -> Engine:
        source = self._source
        metadata = {"compilation": settings_text(self._settings)}
        if source.call is not None:
            metadata["call"] = source.call
        if self._settings.refit_identical_engine_weights:
            metadata["identity"] = json.dumps(self._identity())
        return self._engine(source.core, self._settings.name or source.name, metadata)

    def _identity(self) -> dict[str, str]:
        core, handover = self._source.core, self._source.handover
        if handover is None:
            raise UnsupportedError(
                "[pipeline] refit_identical_engine_weights: want a module or an ExportedProgram, "
                "have a file"
            )
        table = make_table(core.parameters(), [[p.name for p in core.parameters()]], [])
        return identity_of(handover, table)

    def _engine(self, core: _regraft.Program, name: str, metadata: dict[str, str]) -> Engine:
        settings = self._settings
        known = {dim for spec in core.inputs() for dim in spec.dims}
        options: dict[str, Any] = {
            "backend": self._backend,
            "precision": settings.precision,
            "allow_tf32": settings.allow_tf32,
            "name": name,
            "weights": not settings.strip_engine_weights,
            "disabled_passes": list(settings.disabled_passes),
            "engine": engine_options(
                settings.retain,
                settings.realised,
                device=device_name(self._backend, settings.device),
            ),
            "metadata": metadata,
            **cache_options(
                settings.cache_built_engines,
                settings.reuse_cached_engines,
                settings.engine_cache_dir,
                settings.engine_cache_size,
                settings.custom_engine_cache,
            ),
        }
        optimum = {
            k: v for k, v in self._optimum.items() if core is self._source.core or k in known
        }
        if optimum:
            options["optimum"] = optimum
        engine = Engine(_regraft.compile(core, options, self._progress))
        if not settings.immutable_weights:
            return engine
        return Engine.deserialize(
            engine.serialize(immutable=True),
            retain=settings.retain,
            device=device_name(self._backend, settings.device),
        )


def _optimum(
    program: _regraft.Program, optimum: tuple[torch.Tensor, ...] | Mapping[str, int] | None
) -> dict[str, int]:
    if optimum is None:
        return {}
    if isinstance(optimum, Mapping):
        for name, size in optimum.items():
            want_type("[pipeline] optimum", name, str)
            want_type(f"[pipeline] optimum of {name}", size, int)
        return dict(optimum)
    inputs = program.inputs()
    if len(inputs) != len(optimum):
        raise InvalidArgumentError(
            f"[pipeline] optimum: want {len(inputs)} tensors, have {len(optimum)}"
        )
    sizes: dict[str, int] = {}
    for spec, tensor in zip(inputs, optimum, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"[pipeline] optimum: want tensors, have {have(tensor)}")
        if len(spec.dims) != tensor.ndim:
            raise InvalidArgumentError(
                f"[pipeline] optimum of {spec.name}: want {len(spec.dims)} sizes, have "
                f"{list(tensor.shape)}"
            )
        for dim, size in zip(spec.dims, tensor.shape, strict=True):
            if dim.isidentifier():
                sizes[dim] = int(size)
    return sizes
