"""The engine: a compiled program whose weights can be replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from regraft import _regraft
from regraft._calling import CallSpec
from regraft._cuda import DeviceCalls, current_stream
from regraft._files import reading
from regraft._handover import ordinal_of, plain, rows_of, source_of, unreadable
from regraft._want import RETAIN, have, path_text, want_choice, want_flags, want_type
from regraft._weights import Weights, is_path, open_file, tensors_from
from regraft.errors import InvalidArgumentError, MismatchError, StateError, UnsupportedError
from regraft.lora.adapter import Merge, values_of
from regraft.lora.adapters import LoraAdapters
from regraft.lora.state import Slot, State
from regraft.lora.transition import refit_base
from regraft.module.request import RefitRequest
from regraft.module.source import open_weights
from regraft.module.staging import Staged, want_identical
from regraft.refitter import Refitter

__all__ = ["Engine", "MemoryReport", "Profile", "RefitReport", "Refitter"]

RefitReport = _regraft.RefitReport
MemoryReport = _regraft.MemoryReport
Profile = _regraft.Profile


class Engine:
    """A compiled program. Call it like the module it was made from.

    Thread-safety: any methods may be called from several threads. A call uses the weights of one
    generation from start to end, whatever is refitted meanwhile.
    """

    def __init__(self, core: _regraft.Engine, lora: State | None = None) -> None:
        self._core = core
        self.lora_slot = Slot(lora)
        with reading("[engine_file] texts of the engine"):
            call, identity = core.metadata("call"), core.metadata("identity")
            self._call = None if call is None else CallSpec(call)
            self._identity = None if identity is None else _texts(json.loads(identity))
        if self._call is not None:
            signature = core.signature()
            self._call.check_counts(len(signature.inputs), len(signature.outputs))
        self._on_device = None if core.device == "cpu" else DeviceCalls(core)

    # ---- running ----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the engine.

        Args:
            *args, **kwargs: As the exported program takes them; tensors of exactly the declared
                dtypes, in host memory or on the engine's device, of any strides. They are read
                where they lie. On a GPU, work is ordered on PyTorch's current stream.

        Returns:
            What the program returns, in the same structure.

        Raises:
            MismatchError: An input's structure, dtype or size does not fit; lists every one.
            StateError: The engine is stripped and has not been refitted, or an input requires grad
                outside ``torch.no_grad()``: engines do inference only.
        """
        if self._call is None:
            if kwargs:
                raise TypeError("this engine was compiled from a file; pass inputs by position")
            outputs = self.run_flat(list(args))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        return self._call.unflatten(self.run_flat(self._call.flatten(args, kwargs)))

    def run_flat(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Runs on flat inputs; errors as for a call."""
        if self._on_device is not None:
            return self._on_device.run(tensors)
        try:
            outputs: Any = self._core.run(_inputs(tensors))
        except (TypeError, UnsupportedError):
            _want_readable(tensors)
            raise
        return list(outputs)

    def run_pinned(
        self, weights: _regraft.Weights, tensors: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Runs on flat inputs with the weights that ``core.weights()`` pinned."""
        if self._on_device is not None:
            return self._on_device.run(tensors, weights)
        try:
            outputs: Any = self._core.run_with(weights, _inputs(tensors))
        except (TypeError, UnsupportedError):
            _want_readable(tensors)
            raise
        return list(outputs)

    # ---- weights ----

    def refit(
        self,
        weights: Weights,
        *,
        partial: bool = False,
        cast: bool = False,
        in_place: bool = False,
        dry_run: bool = False,
        allow_unexpected: bool = False,
        non_finite: str = "report",
        adopt: bool = False,
    ) -> RefitReport:
        """Replaces the weights: all or nothing, bit for bit what a fresh build would give.

        Args:
            weights: A mapping of name to tensor (``state_dict``), a module, an ExportedProgram, or
                the path of a ``.safetensors`` or ``.pt2`` file.
            partial: Parameters that ``weights`` lacks keep their values.
            cast: Convert tensors of another dtype to the declared one, as PyTorch does.
            in_place: Keep the address of every constant; waits for running calls.
            dry_run: Check and compute everything, publish nothing.
            allow_unexpected: List unknown names in the report instead of raising.
            non_finite: What to do with NaN and infinity: "report", "reject" or "ignore".
            adopt: Take tensors over where they lie: constants that are a parameter as it is, in
                dtype and layout, read the given memory, and so does what is retained. Nobody may
                write to these tensors while the engine has these weights; it keeps them alive.

        Returns:
            What was updated, how many bytes, how fast.

        Raises:
            MismatchError: Names, shapes or dtypes do not fit; lists every offender. The old weights
                stay in use.
            StateError: The engine is immutable, or parameters it needs were not retained.
            InvalidArgumentError: Options that exclude each other.
        """
        options = RefitRequest(
            partial, cast, in_place, dry_run, allow_unexpected, non_finite, adopt=adopt
        ).core()
        return refit_base(
            self, weights, cast, dry_run, lambda w, merges: self._refit_as_is(w, options, merges)
        )

    def refitter(
        self,
        weights: Mapping[str, torch.Tensor] | torch.nn.Module | ExportedProgram,
        *,
        partial: bool = False,
        cast: bool = False,
        in_place: bool = False,
        allow_unexpected: bool = False,
        non_finite: str = "report",
    ) -> Refitter:
        """Refits from the same tensors again and again, without looking at each of them again.

        For a model that trains, or buffers that checkpoints are received in: every call of the
        result refits with the values that the tensors have then.

        Args:
            weights, partial, cast, in_place, allow_unexpected, non_finite: As for ``refit``; no
                file. Tensors that are tied in the engine must share their memory.

        Raises:
            MismatchError, StateError: As ``refit``.
            InvalidArgumentError: A tensor is not plain memory of the host or of the engine's
                device, so that a copy would be refitted from; or the engine was compiled to refuse
                other weights.
        """
        if is_path(weights):
            raise InvalidArgumentError("[refit] refitter: a file has no values to change: refit()")
        if self._identity is not None:
            raise InvalidArgumentError(
                "[refit] refitter: the engine takes its own weights only "
                "(refit_identical_engine_weights)"
            )
        tensors = tensors_from(weights)
        device = self.weights_device
        rows, kept = rows_of(tensors, device)
        moved = [
            row[0]
            for row, tensor in zip(rows, kept, strict=True)
            if tensor.data_ptr() != tensors[row[0]].data_ptr()
        ]
        if moved:
            where = "the host" if device is None else f"the host or {device}"
            raise InvalidArgumentError(
                f"[refit] refitter: want plain tensors of {where}, which are read where they lie: "
                + ", ".join(moved)
            )
        options = RefitRequest(partial, cast, in_place, False, allow_unexpected, non_finite).core()
        if device is not None:
            options.stream = current_stream(device)
        core = self._core.refitter_rows(rows, options)
        known = {
            name for info in self._core.parameters() for name in (info.spec.name, *info.aliases)
        }
        read = [tensor for row, tensor in zip(rows, kept, strict=True) if row[0] in known]
        return Refitter(core, self.lora_slot, device, read)

    def _refit_as_is(
        self,
        weights: Weights,
        options: _regraft.RefitOptions,
        merges: Mapping[str, Merge] | None = None,
    ) -> RefitReport:
        if self._identity is not None:
            self._want_identical(
                {**tensors_from(weights), **values_of(merges)} if merges else weights
            )
        if is_path(weights):
            return self._core.refit_source(open_file(weights), options)  # type: ignore[arg-type]
        device = self.weights_device
        if device is not None:
            options.stream = current_stream(device)
        source, kept = source_of(tensors_from(weights), device)
        if options.adopt:
            source = _regraft.stable_source(source, kept)
        if merges:
            rows = [(name, merge.base, merge.recipe.rows) for name, merge in merges.items()]
            source = _regraft.with_merged(source, rows, ordinal_of(device))
        report = self._core.refit_source(source, options)
        del kept
        return report

    def _want_identical(self, weights: Weights) -> None:
        source = open_weights(weights)
        canonical = {
            name: info.spec.name
            for info in self._core.parameters()
            for name in (info.spec.name, *info.aliases)
        }
        staged = Staged()
        for name in source.names():
            if name in canonical:
                staged.names.setdefault(canonical[name], []).append(name)
        assert self._identity is not None
        want_identical(self._identity, staged, source)

    def rollback(self) -> int:
        """Back to the weights before the last refit; returns the generation now in use.

        Raises:
            StateError: They are gone (in-place refit, ``trim()``, memory taken by a later refit),
                or a call was recorded by ``torch.cuda.graph``.
        """
        with self.lora_slot.lock:
            generation = self._core.rollback()
            self.lora_slot.roll_back()
            return generation

    def fork(self) -> Engine:
        """Another engine with the same plan that shares these weights until one is refitted."""
        with self.lora_slot.lock:
            return Engine(self._core.fork(), self.lora_slot.state)

    @property
    def lora(self) -> LoraAdapters:
        """Adapters on top of these weights. ``refit`` replaces the weights under them;
        ``parameter``, ``state_dict`` and ``save`` give the values in use, adapters included."""
        return LoraAdapters(self)

    def refit_merged(self, merges: Mapping[str, Merge], in_place: bool = False) -> RefitReport:
        """A partial refit with values that adapters are merged into on the way; for ``lora``."""
        options = RefitRequest(partial=True, in_place=in_place).core()
        return self._refit_as_is({}, options, merges)

    @property
    def weights_device(self) -> torch.device | None:
        """Where weights are taken and adapters merged, if not on the host."""
        return None if self._on_device is None else self._on_device.device

    def base_values(self, names: Sequence[str]) -> list[torch.Tensor]:
        """Values in use that later refits leave as they are, where adapters are merged; for
        ``lora``.

        Raises:
            StateError: Some were not retained; lists all.
        """
        values: Any = self._core.held_parameters(list(names))
        return list(values)

    def forget_previous(self) -> None:
        """Gives up rolling back: frees the weights before the last refit."""
        self._core.forget_previous()

    def trim(self) -> None:
        """Frees what is held for speed only."""
        self._core.trim()
        self.lora_slot.trim()

    @property
    def generation(self) -> int:
        """Number of the weights in use; 0 before the first weights of a stripped engine."""
        return self._core.generation

    def parameter(self, name: str) -> torch.Tensor:
        """A copy of a parameter's value in use.

        Raises:
            NotFoundError: No parameter has that name.
            StateError: The value was not retained.
        """
        value: Any = self._core.parameter(name)
        copy: torch.Tensor = value.clone()
        return copy

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of every parameter the engine reads, tied names included."""
        out: dict[str, torch.Tensor] = {}
        for info in self._core.parameters():
            value = self.parameter(info.spec.name)
            out.update(dict.fromkeys([info.spec.name, *info.aliases], value))
        return out

    # ---- files ----

    def serialize(self, *, strip_weights: bool = False, immutable: bool = False) -> bytes:
        """The bytes of an engine file; arguments as for ``save``."""
        _one_form(strip_weights, immutable)
        return self._core.serialize(strip_weights, immutable)

    @staticmethod
    def deserialize(
        data: bytes | bytearray | memoryview,
        *,
        retain: str = "auto",
        realised: str = "",
        device: str | torch.device | None = None,
    ) -> Engine:
        """An engine of the bytes of an engine file; arguments and errors as for ``load``."""
        options = engine_options(retain, realised, False, device)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"[engine_file] want the bytes of an engine file, have {have(data)}")
        return Engine(_regraft.Engine.deserialize(bytes(data), options))

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        strip_weights: bool = False,
        immutable: bool = False,
    ) -> None:
        """Writes an engine file atomically.

        Args:
            path: Usually ends in ``.rgf``.
            strip_weights: Leave the weights out: kilobytes; the loaded engine must be refitted.
            immutable: Store the final constants only; the loaded engine refuses refits.
        """
        _one_form(strip_weights, immutable)
        self._core.save(path_text(path), strip_weights, immutable)

    # ---- facts ----

    @property
    def core(self) -> _regraft.Engine:
        """The engine of the extension."""
        return self._core

    @property
    def call_spec(self) -> CallSpec | None:
        """How the program is called; None of one compiled from a file."""
        return self._call

    @property
    def outline(self) -> list[str] | None:
        """What was compiled, to compare other programs with; None of an older engine file."""
        text = self._core.metadata("outline")
        return None if text is None else text.split("\n")

    @property
    def settings_text(self) -> str | None:
        """The settings it was compiled with, as JSON."""
        return self._core.metadata("compilation")

    def constant_values(self) -> dict[str, torch.Tensor]:
        """The constants in use, as they are before packing, by name.

        Raises:
            StateError: Some parameters were not retained.
        """
        values: Any = self._core.constant_values()
        return dict(values)

    @property
    def is_immutable(self) -> bool:
        """Whether refits are refused."""
        return self._core.is_immutable

    @property
    def name(self) -> str:
        """Name of the program."""
        return self._core.name

    @property
    def backend(self) -> str:
        """Name of the backend that compiled the plan."""
        return self._core.backend

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device(self._core.device)

    @property
    def from_cache(self) -> bool:
        """Whether the plan was found in an engine cache instead of being compiled."""
        return self._core.from_cache

    def signature(self) -> _regraft.Signature:
        """Inputs, outputs and symbols with their ranges."""
        return self._core.signature()

    def parameter_infos(self) -> list[_regraft.ParameterInfo]:
        """Every parameter the engine reads, with its aliases."""
        return self._core.parameters()

    def constants(self) -> list[_regraft.ConstantInfo]:
        """Every constant in the form the kernels read."""
        return self._core.constants()

    def memory(self) -> MemoryReport:
        """Bytes held, by purpose."""
        return self._core.memory()

    def refit_map(self) -> str:
        """Which parameter feeds which constants, through which steps, and back."""
        return self._core.refit_map()

    def steps(self) -> str:
        """The steps of both programs with the kernels chosen on this machine."""
        return self._core.steps()

    def profile(self, *args: Any, runs: int = 20, **kwargs: Any) -> Profile:
        """Times every step of a call and the call as a whole, beside what the machine can do.

        Args:
            *args, **kwargs: As for a call; without any, random tensors of the sizes that the engine
                is tuned for.
            runs: How often to run; times are medians.

        Returns:
            The steps in the order in which they run, each with its seconds, bytes, operations and
            share of the roofline; as text, a table with the longest first.

        Raises:
            MismatchError, StateError: As a call.
            InvalidArgumentError: Less than one run.
        """
        want_type("[engine] runs", runs, int)
        if not args and not kwargs:
            return _regraft.profile(self._core, None, runs)
        if self._call is None and kwargs:
            raise TypeError("this engine was compiled from a file; pass inputs by position")
        tensors = list(args) if self._call is None else self._call.flatten(args, kwargs)
        device = self.weights_device
        if device is not None:
            torch.cuda.synchronize(device)  # What writes the inputs may be under way.
        rows, kept = rows_of({f"input {i}": tensor for i, tensor in enumerate(tensors)}, device)
        profile = _regraft.profile(self._core, rows, runs)
        del kept
        return profile

    def realised_plan(self) -> str:
        """The choices made on this machine, to be imported by another build of the program."""
        return self._core.realised_plan()

    @property
    def realised_digest(self) -> str:
        """Digest of ``realised_plan()``: refit and build are bit-equal under equal digests."""
        return self._core.realised_digest()

    def __repr__(self) -> str:
        inputs = ", ".join(repr(spec) for spec in self._core.signature().inputs)
        return (
            f"regraft.Engine({self.name!r}, backend={self.backend!r}, inputs=({inputs}), "
            f"generation={self.generation})"
        )

    def __copy__(self) -> Engine:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Engine:
        return self.fork()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a regraft.Engine cannot be pickled; use save() and regraft.load, or serialize() and "
            "Engine.deserialize"
        )


def _texts(value: Any) -> dict[str, str]:
    """
    Raises:
        ValueError: A file brings something else.
    """
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError("want texts by name")
    return value


def engine_options(
    retain: str,
    realised: str = "",
    adopt: bool = True,
    device: str | torch.device | None = None,
) -> _regraft.EngineOptions:
    """Options of the core from keyword arguments.

    Raises:
        TypeError, InvalidArgumentError: Values that they cannot have.
    """
    want_choice("[engine] retain", retain, RETAIN)
    want_type("[engine] realised", realised, str)
    want_flags("engine", adopt=adopt)
    if not isinstance(device, str | torch.device | None):
        raise TypeError(f"[engine] device: want a device, have {have(device)}")
    options = _regraft.EngineOptions()
    options.adopt = adopt
    options.device = "" if device is None else str(device)
    options.set_retain(retain)
    options.realised = realised
    return options


def load_engine(
    path: str | os.PathLike[str],
    retain: str = "auto",
    realised: str = "",
    adopt: bool = False,
    device: str | torch.device | None = None,
) -> Engine:
    """Loads an engine file; its plan is realised for this machine."""
    options = engine_options(retain, realised, adopt, device)
    return Engine(_regraft.Engine.load(path_text(path), options))


def _one_form(strip_weights: bool, immutable: bool) -> None:
    want_flags("engine_file", strip_weights=strip_weights, immutable=immutable)
    if strip_weights and immutable:
        raise InvalidArgumentError("[engine_file] strip_weights and immutable exclude each other")


def _inputs(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    out: list[torch.Tensor] = []
    for i, tensor in enumerate(tensors):
        if tensor.requires_grad and torch.is_grad_enabled():
            raise StateError(
                f"[engine] input {i} requires grad: engines do inference; call the engine under "
                "torch.no_grad()"
            )
        if tensor.device.type != "cpu":
            raise MismatchError(f"[engine] input {i}: want host memory, have {tensor.device}")
        is_ready = type(tensor) is torch.Tensor and not tensor.requires_grad and tensor.is_cpu
        if is_ready and not tensor.is_neg() and not tensor.is_conj():
            out.append(tensor)  # The core tells what is wrong with it.
        else:
            out.append(plain(tensor))
    return out


def _want_readable(tensors: list[torch.Tensor]) -> None:
    problems = [f"input {i}: {why}" for i, t in enumerate(tensors) if (why := unreadable(t))]
    if problems:
        raise MismatchError("[engine] " + "; ".join(problems))
