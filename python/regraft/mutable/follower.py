"""Keeps engines in step with a module that its owner changes."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from regraft._compile import compile
from regraft._exporting import export, is_training
from regraft._want import want_type
from regraft.errors import (
    Error,
    InvalidArgumentError,
    MismatchError,
    NotFoundError,
    UnsupportedError,
)
from regraft.lora.base_view import AdapterView, adapter_view, base_view, has_adapters
from regraft.lora.call_scale import call_scale, without_call_scale
from regraft.lora.state import State
from regraft.mutable.calls import Call, CallKind, FreeDims, describe, differing, free_shapes, joined
from regraft.mutable.program import Compiled, describe_inputs, fingerprint, places_of
from regraft.mutable.watch import ModuleWatch, Slot
from regraft.tracking import WeightTracker

# Settings that leave nothing to follow with.
_REFUSED = ("immutable_weights", "strip_engine_weights", "dryrun")


class _RefusedError(MismatchError):
    """An engine with free sizes did not take sizes that looked fit."""


class Follower:
    """The engines of one module.

    Thread-safety: ``run`` may be called from several threads; the module must not be changed while
    another thread is in ``run`` up to its engine's start.

    Args:
        module: Followed; in evaluation mode whenever something is compiled.
        settings: For ``regraft.compile``.
        track: As of ``regraft.tracking.WeightTracker``.
        strict: As of ``torch.export.export``.
        max_engines: Kept for calls of other kinds and sizes, and for structures that may come back.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        settings: dict[str, Any],
        *,
        track: str,
        strict: bool,
        max_engines: int,
    ) -> None:
        refused = [name for name in _REFUSED if settings.get(name)]
        if refused:
            raise InvalidArgumentError(
                f"[mutable] {', '.join(refused)}: a mutable module needs weights it can replace"
            )
        want_type("[mutable] max_engines", max_engines, int)
        want_type("[mutable] strict", strict, bool)
        if max_engines < 1:
            raise InvalidArgumentError(
                f"[mutable] max_engines: want at least 1, have {max_engines}"
            )
        self.module = module
        self.max_engines = max_engines
        self.settings = settings
        self.track = track
        self.strict = strict
        self.hints: tuple[Any, dict[str, Any]] | None = None
        self.last_refit: Any = None
        self.compilations = 0
        # By fingerprint, the one used last at the end.
        self.kept: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._programs: list[Compiled] = []
        self._free: dict[CallKind, FreeDims] = {}
        # What has no program with free dims, as the module is.
        self._static: set[CallKind] = set()
        # Whether a call brought a scale for adapters.
        self._is_scaled = False
        # The adapters, where they were just looked at.
        self._view: AdapterView | None = None
        self._begin()

    # ---- running ----

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs the module as it is now."""
        try:
            return self._run(args, kwargs, is_fixed=False)
        except _RefusedError:
            return self._run(args, kwargs, is_fixed=True)

    def _run(self, args: tuple[Any, ...], given: Mapping[str, Any], *, is_fixed: bool) -> Any:
        with self._lock:
            self._follow()
            scale, kwargs = self._scale_of(given)
            call = describe(args, kwargs)
            program = self._program_for(call, args, kwargs, scale, is_fixed)
            self._refit(program, scale)
            run = functools.partial(self._answer, program, call, args, kwargs)
            # Where another call may bring another scale, none runs beside it.
            if self._is_scaled:
                return run()
        return run()

    def _answer(
        self, program: Compiled, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        try:
            return program.engine(*args, **kwargs)
        except MismatchError as error:
            if program.is_fixed():
                raise
            program.refused.add(call.shapes)
            raise _RefusedError from error

    def _scale_of(self, kwargs: Mapping[str, Any]) -> tuple[float, Mapping[str, Any]]:
        """The scale of adapters that a call brings, and the call without it."""
        if not self._sees_through:
            return 1.0, kwargs
        scale = call_scale(self.module, kwargs)
        self._is_scaled |= scale != 1
        return scale, without_call_scale(self.module, kwargs)

    @property
    def programs(self) -> list[Compiled]:
        """The programs in use, the one used last at the end."""
        return list(self._programs)

    def weights(self) -> list[tuple[Slot, torch.Tensor]]:
        """The weights of the base of the module as it is now, and where they lie."""
        with self._lock:
            self._follow()
            return list(zip(self._watch.slots, self._watch.tensors(), strict=True))

    def base_names(self) -> dict[str, str]:
        """Every name of a parameter or buffer in the module -> name in its base."""
        if self._sees_through:
            return dict(adapter_view(self.module).names)
        own = [
            *self.module.named_parameters(remove_duplicate=False),
            *self.module.named_buffers(remove_duplicate=False),
        ]
        return {name: name for name, _ in own}

    def merged(self) -> dict[str, torch.Tensor]:
        """The values of those that adapters change, by the slots' names."""
        view = self._adapters() or _NO_ADAPTERS
        recipes = State(view.adapters, dict.fromkeys(view.adapters, 1.0)).recipes()
        own = {slot.name: tensor for slot, tensor in self.weights()}
        return {name: recipe.value(own[name].detach()) for name, recipe in recipes.items()}

    def copied(self, module: torch.nn.Module) -> Follower:
        """A follower of a copy of the module, with engines of its own."""
        follower = Follower(module, self.settings, **self.options())
        follower.set_hints(self.hints)
        return follower

    @property
    def engines(self) -> list[Any]:
        """The engines in use, the one used last at the end."""
        return [program.engine for program in self._programs]

    def set_hints(self, hints: tuple[Any, dict[str, Any]] | None) -> None:
        """Replaces the expected ranges of sizes; programs are made anew."""
        with self._lock:
            self.hints = hints
            self._programs.clear()
            self._static.clear()

    @property
    def free(self) -> dict[CallKind, FreeDims]:
        """Dims in which calls were seen to differ, by kind of call."""
        return dict(self._free)

    def restore_free(self, free: Mapping[CallKind, FreeDims]) -> None:
        """What ``free`` was elsewhere."""
        self._free.update(free)

    def options(self) -> dict[str, Any]:
        """The arguments that are no settings."""
        return {"track": self.track, "strict": self.strict, "max_engines": self.max_engines}

    def notify(self, names: Collection[str] | None) -> None:
        """Announces writes to weights that leave no trace."""
        with self._lock:
            if names is None:
                self._tracker.notify()
                self._adapter_tracker.notify()
                return
            base = {n: s.name for s in self._watch.slots for n in (s.name, s.user_name)}
            adapters = set(self._adapter_tracker.names)
            unknown = sorted(str(name) for name in {*names} - base.keys() - adapters)
            if unknown:
                raise NotFoundError(f"[mutable] no weight is named {', '.join(unknown)}")
            self._tracker.notify([base[name] for name in names if name in base])
            self._adapter_tracker.notify([name for name in names if name in adapters])

    # ---- following ----

    def _begin(self) -> None:
        """Everything anew: the module is another one."""
        self._sees_through = self._adapters() is not None
        self._watch = ModuleWatch(self.module, self._sees_through)
        tensors = self._watch.tensors()
        self._tracker = WeightTracker(self._watch.slots_named(), tensors, self.track)
        self._track_adapters()
        self._build = _build_of(tensors)
        self._programs.clear()
        self._static.clear()

    def _track_adapters(self) -> None:
        names = [slot.user_name for slot in self._watch.adapter_slots]
        self._adapter_tracker = WeightTracker(names, self._watch.adapter_tensors(), self.track)

    def _follow(self) -> None:
        if self._watch.is_touched() and not self._look_again():
            return
        if self._adapter_tracker.changed(self._watch.adapter_tensors()):
            self._adapters_changed()
            self._adapter_tracker.accept()
        tensors = self._watch.tensors()
        changed = set(self._tracker.changed(tensors))
        if not changed:
            return
        if _build_of(tensors) != self._build:
            self._begin()
            return
        slots = {i for i, name in enumerate(self._tracker.names) if name in changed}
        for program in self._programs:
            program.pending |= slots
        self._tracker.accept()

    def _look_again(self) -> bool:
        """Looks at a module that was written to; False when that began everything anew."""
        adapters_differ = self._watch.read_again()
        if adapters_differ is False:
            return True
        if adapters_differ and ((view := self._adapters()) is not None) == self._sees_through:
            self._adapters_changed(view)
            return True
        sees_through = self._adapters() is not None
        old, new = self._watch, ModuleWatch(self.module, sees_through)
        if new.structure != old.structure or new.slots_named() != old.slots_named():
            self._begin()
            return False
        if old.is_exchanged:
            self._tracker.notify()
        self._watch = new
        if not new.has_adapters_of(old):
            self._track_adapters()
            self._adapters_changed()
        return True

    def _adapters_changed(self, view: AdapterView | None = None) -> None:
        self._view = view
        for program in self._programs:
            program.scale = None

    def _watch_again(self) -> None:
        # torch.export puts copies of the lists and dicts of a module back in their places.
        watch = ModuleWatch(self.module, self._sees_through)
        if watch.slots_named() != self._watch.slots_named():
            self._begin()
        self._watch = watch

    def _refit(self, program: Compiled, scale: float) -> None:
        if program.pending:
            tensors = self._watch.tensors()
            weights = {n: tensors[i] for n, i in program.places.items() if i in program.pending}
            if weights:
                has_weights = bool(program.engine.generation)
                self.last_refit = program.engine.refit(weights, partial=has_weights)
        if program.scale != scale:
            self._refit_adapters(program.engine, self._view or self._adapters(), scale)
            program.scale = scale
        self._view = None  # What it was made of may change from here on.
        program.pending.clear()

    def _refit_adapters(self, engine: Any, view: AdapterView | None, scale: float) -> None:
        if view is not None or engine.lora.loaded:
            report = engine.lora.follow(view or _NO_ADAPTERS, scale=scale).refit
            self.last_refit = report or self.last_refit

    def _adapters(self) -> AdapterView | None:
        """The module's adapters now; None where some stay layers."""
        if not has_adapters(self.module):
            return _NO_ADAPTERS
        try:
            return adapter_view(self.module)
        except UnsupportedError:
            return None

    # ---- compiling ----

    def _program_for(
        self,
        call: Call,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        scale: float,
        is_fixed: bool,
    ) -> Compiled:
        for program in reversed(self._programs):
            if program.answers(call) and (program.is_fixed() or not is_fixed):
                self._programs.remove(program)
                self._programs.append(program)
                return program
        program = self._compile(call, args, dict(sorted(kwargs.items())), scale, is_fixed)
        # What the new one answers too is not needed twice.
        self._programs = [p for p in self._programs if not _covers(program, p)]
        self._programs.append(program)
        del self._programs[: -self.max_engines]
        return program

    def _compile(
        self,
        call: Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        scale: float,
        is_fixed: bool,
    ) -> Compiled:
        self._want_exportable()
        # Adapters are changes of weights: the base model is what is compiled, so that a module that
        # gets its first adapter, or loses its last one, finds its engine again.
        is_wrapped = self._sees_through and has_adapters(self.module)
        module = base_view(self.module).module if is_wrapped else self.module
        shapes = None if is_fixed else self._shapes(module, call, args, kwargs)
        program = None
        if shapes is not None:
            program = self._with_free_dims(module, call, args, kwargs, shapes)
        if program is None:
            program = self._made(self._export(module, args, kwargs), call)
            if shapes is not None and self.hints is None:
                # They would fail again at every call of other sizes.
                self._static.add(call.kind)
                self._free.pop(call.kind, None)
        self._refit_adapters(program.engine, self._adapters() if is_wrapped else None, scale)
        program.scale = scale
        return program

    def _with_free_dims(
        self,
        module: torch.nn.Module,
        call: Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shapes: Any,
    ) -> Compiled | None:
        """The program that leaves dims free; None where there is none."""
        try:
            exported = self._export(module, args, kwargs, shapes)
        except Exception as error:
            # Sizes out of the expected range, or that the program cannot leave free.
            if self.hints is not None:
                warnings.warn(
                    "[mutable] the call does not fit the expected dynamic shapes and is "
                    f"compiled for its own sizes: {error}",
                    stacklevel=2,
                )
            return None
        try:
            return self._made(exported, call)
        except Error:
            if self.hints is not None:
                raise
            return None

    def _made(self, exported: ExportedProgram, call: Call) -> Compiled:
        self._watch_again()
        sizes, ranges = describe_inputs(exported)
        places = places_of(exported, self._watch.slots, self._watch.tensors())
        key = fingerprint(exported)
        engine = self.kept.pop(key, None)
        if engine is None:
            engine = compile(exported, **self.settings)
            self.compilations += 1
        else:
            self.last_refit = engine.refit(exported)
        self.kept[key] = engine
        while len(self.kept) > self.max_engines:
            del self.kept[next(iter(self.kept))]
        return Compiled(engine, call.kind, sizes, ranges, places, key)

    def _want_exportable(self) -> None:
        if is_training(self.module):
            raise InvalidArgumentError(
                "[mutable] the module is in training mode; call eval() before running it"
            )
        slots = zip(self._watch.slots, self._watch.tensors(), strict=True)
        names = [slot.name for slot, t in slots if t.is_inference() and t.requires_grad]
        if names:
            raise InvalidArgumentError(
                "[mutable] weights made under torch.inference_mode() must not require grad; call "
                f"requires_grad_(False) there: {', '.join(names)}"
            )

    def _export(
        self,
        module: torch.nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shapes: Any = None,
    ) -> ExportedProgram:
        with torch.inference_mode(False):
            return export(module, args, kwargs, shapes, strict=self.strict)

    def _shapes(
        self,
        module: torch.nn.Module,
        call: Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.hints is not None:
            positional, by_name = self.hints
            full = {name: by_name.get(name) for name in kwargs}
        elif call.kind in self._static:
            return None
        else:
            for program in self._programs:
                if program.kind == call.kind:
                    free = differing(Call(call.kind, _shape_of(program)), call)
                    self._free[call.kind] = joined(self._free.get(call.kind), free)
            free_dims = self._free.get(call.kind)
            if free_dims is None or not any(free_dims):
                return None
            positional, full = free_shapes(args, kwargs, free_dims)
        return _by_parameter(module, args, kwargs, positional, full)


_NO_ADAPTERS = AdapterView({}, {})


def _shape_of(program: Compiled) -> Any:
    return program.sizes


def _covers(new: Compiled, old: Compiled) -> bool:
    shapes = tuple(tuple(s if isinstance(s, int) else -1 for s in sizes) for sizes in old.sizes)
    return new.answers(Call(old.kind, shapes))


def _build_of(tensors: list[torch.Tensor]) -> list[Any]:
    """What a program is made for: sizes, dtypes, and which slots hold one tensor."""
    first: dict[int, int] = {}
    return [(t.shape, t.dtype, first.setdefault(id(t), i)) for i, t in enumerate(tensors)]


def _by_parameter(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    positional: tuple[Any, ...],
    by_name: dict[str, Any],
) -> Any:
    """Shapes in the order of the arguments, as ``torch.export.export`` reads them."""
    try:
        bound = inspect.signature(module.forward).bind(*positional, **by_name)
    except TypeError:
        return (*positional, *by_name.values())
    return dict(bound.arguments)
