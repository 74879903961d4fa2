"""A compiled program of several engines and PyTorch segments."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from regraft import _regraft
from regraft._autocast import without_autocast
from regraft._calling import CallSpec
from regraft._weights import Weights, tensors_from
from regraft.engine import Engine
from regraft.errors import Error, NotFoundError, StateError
from regraft.lora.adapter import Merge, values_of
from regraft.lora.adapters import LoraAdapters
from regraft.lora.state import Slot, State
from regraft.lora.transition import refit_base
from regraft.module import split
from regraft.module.bank import Bank, Cell
from regraft.module.gate import Gate
from regraft.module.report import ModuleMemoryReport, ModuleRefitReport, add_memory
from regraft.module.request import RefitRequest
from regraft.module.signature import Signature
from regraft.module.source import open_weights
from regraft.module.table import Parameter, Table
from regraft.module.transaction import Before, Transaction, roll_back_engines


class Module(fx.GraphModule):
    """A compiled program, parts of which run in PyTorch. Call it like the module it was made from.

    Its graph calls `engine_i` and `torch_i` submodules; print it to see them. All of them take
    their weights from one bank: a call reads it once, a refit replaces it in one assignment.

    In a parent module, its weights are part of the parent's ``state_dict``, and the parent's
    ``load_state_dict`` is a refit of it. None are ``nn.Parameter``: ``parameters()`` is empty, and
    what it reads is told by ``parameter_infos()``.

    Thread-safety: calls, refits and the rest may come from several threads. A call uses the weights
    of one generation from start to end.
    """

    def __init__(
        self,
        *,
        name: str,
        layout: split.Layout,
        engines: Sequence[Engine],
        torch_segments: Mapping[str, fx.GraphModule],
        table: Table,
        cells: Mapping[str, Cell],
        call: str,
        signature: Signature,
        explanation: str,
        immutable: bool = False,
        identity: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        lora: State | None = None,
    ) -> None:
        once = split.computed_once(layout, torch_segments)
        super().__init__(
            split.submodules(layout, engines, torch_segments, once),
            split.make_graph(layout, once),
            "Module",
        )
        self.eval()
        self.name = name
        self.layout = layout
        self.engines = list(engines)
        self.torch_segments = dict(torch_segments)
        self.table = table
        self.call_text = call
        self.explanation = explanation
        self.is_immutable = immutable
        self.identity = None if identity is None else dict(identity)
        self.facts = dict(facts or {})
        self.gate = Gate()
        self.lora_slot = Slot(lora)
        self._signature = signature
        self._call_spec = CallSpec(call)
        self._call_spec.check_counts(len(layout.inputs), len(layout.outputs))
        self._refit_lock = threading.RLock()
        self._generations = itertools.count(1)
        self._before: Before | None = None
        # Of a stripped module: weights that no state_dict brings.
        self._initial = dict(cells)
        self.bank: Bank | None = None
        takes_all = len(engines) == len(layout.segments) == 1 and engines[0].call_spec is not None
        # A call of one engine needs nothing else to see one generation.
        self._whole = self.engines[0] if takes_all else None
        if all(engine.generation for engine in engines) and set(cells) >= set(
            split.torch_weights(layout)
        ):
            self.bank = Bank(self.next_generation(), self.pins(), cells)

    # ---- running ----

    def recompile(self) -> Any:
        """Makes the graph's code anew; `forward` stays the call of the whole module."""
        code = super().recompile()
        cls: Any = type(self)
        cls._run_graph = cls.forward
        cls.forward = Module._run
        return code

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module.

        Args:
            *args, **kwargs: As the exported program takes them; tensors of the declared dtypes.

        Returns:
            What the program returns, in the same structure.

        Raises:
            MismatchError: An input's structure, dtype or size does not fit; lists every one.
            StateError: The module is stripped and has not been refitted, or an input requires grad
                outside ``torch.no_grad()``: engines do inference only.
        """
        if self._whole is not None:
            return self._whole(*args, **kwargs)
        outputs = self.run_flat(self._call_spec.flatten(args, kwargs))
        return self._call_spec.unflatten(outputs)

    def run_flat(self, inputs: list[Any]) -> list[Any]:
        """Runs on flat inputs, tensors and numbers; errors as for a call."""
        if self._whole is not None:
            return self._whole.run_flat(inputs)
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        if torch.is_grad_enabled():
            for i, tensor in enumerate(tensors):
                if tensor.requires_grad:
                    raise StateError(
                        f"[engine] input {i} requires grad: engines do inference; call the module "
                        "under torch.no_grad()"
                    )
        self._signature.check(tensors, self._call_spec.numbers_of(inputs))
        self.gate.enter()
        try:
            bank = self.want_weights("run")
            with torch.no_grad(), without_autocast():
                outputs = self._run_graph(bank, *inputs)
                return [_detached(output, bank) for output in outputs]
        finally:
            self.gate.leave()

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
        wait_seconds: float = 60.0,
    ) -> ModuleRefitReport:
        """Replaces the weights of all engines and PyTorch segments: all or nothing.

        Args:
            weights, partial, cast, in_place, dry_run, allow_unexpected, non_finite: As for
                ``Engine.refit``.
            wait_seconds: In place: how long to wait for running calls.

        Raises:
            MismatchError: Names, shapes or dtypes do not fit; lists every offender. The old weights
                stay in use.
            StateError: The module is immutable, parameters it needs were not retained, or (in
                place) running calls did not end or memory is shared with a fork.
        """
        request = RefitRequest(
            partial, cast, in_place, dry_run, allow_unexpected, non_finite, wait_seconds
        )

        def refit(weights: Weights, merges: Mapping[str, Merge]) -> ModuleRefitReport:
            if merges:
                weights = {**tensors_from(weights), **values_of(merges)}
            return self._refit_as_is(weights, request)

        return refit_base(self, weights, cast, dry_run, refit)

    def _refit_as_is(self, weights: Weights, request: RefitRequest) -> ModuleRefitReport:
        with self._refit_lock:
            transaction = Transaction(self, open_weights(weights), request)
            return transaction.report if request.dry_run else transaction.publish()

    def rollback(self) -> int:
        """Back to the weights before the last refit; returns the generation now in use.

        Raises:
            StateError: They are gone (in-place refit, ``trim()``, memory taken by a later refit).
        """
        with self.lora_slot.lock, self._refit_lock:
            before, bank = self._before, self.bank
            if before is None or bank is None:
                raise StateError(
                    "[engine] no weights to roll back to: there was no refit yet, or it was in "
                    "place, or their memory was given to a later refit or freed"
                )
            roll_back_engines(self, before.engines)
            self.set_bank(
                Bank(before.generation, self.pins(), before.cells),
                Before(bank.generation, before.engines, bank.cells),
            )
            self.lora_slot.roll_back()
            return before.generation

    def fork(self) -> Module:
        """Another module with the same plans that shares these weights until one is refitted."""
        with self.lora_slot.lock, self._refit_lock:
            return Module(
                name=self.name,
                layout=self.layout,
                engines=[engine.fork() for engine in self.engines],
                torch_segments=self.torch_segments,
                table=self.table,
                cells=self.cells(),
                call=self.call_text,
                signature=self._signature,
                explanation=self.explanation,
                immutable=self.is_immutable,
                identity=self.identity,
                facts=self.facts,
                lora=self.lora_slot.state,
            )

    @property
    def lora(self) -> LoraAdapters:
        """Adapters on top of these weights. ``refit`` replaces the weights under them;
        ``parameter``, ``state_dict`` and ``save`` give the values in use, adapters included."""
        return LoraAdapters(self)

    def refit_merged(
        self, merges: Mapping[str, Merge], in_place: bool = False
    ) -> ModuleRefitReport:
        """A partial refit with values that adapters are merged into; for ``lora``."""
        return self._refit_as_is(values_of(merges), RefitRequest(partial=True, in_place=in_place))

    @property
    def weights_device(self) -> None:
        """Adapters are merged on the host: engines and PyTorch segments share the values."""
        return None

    def base_values(self, names: Sequence[str]) -> list[torch.Tensor]:
        """Copies of the values in use; for ``lora``.

        Raises:
            StateError: One was not retained.
        """
        return [self.parameter(name) for name in names]

    def forget_previous(self) -> None:
        """Gives up rolling back: frees the weights before the last refit."""
        with self._refit_lock:
            self.forget_before()
            for engine in self.engines:
                engine.forget_previous()

    def trim(self) -> None:
        """Frees what is held for speed only."""
        with self._refit_lock:
            self._before = None
            for engine in self.engines:
                engine.trim()
        self.lora_slot.trim()

    def load_state_dict(
        self, state_dict: Mapping[str, torch.Tensor], strict: bool = True, assign: bool = False
    ) -> ModuleRefitReport:
        """A refit; without ``strict``, of the names that both know. Errors as for ``refit``.

        Args:
            assign: Makes no difference: values are copied.
        """
        return self.refit(state_dict, partial=not strict, allow_unexpected=not strict)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """The part of a parent's ``load_state_dict``: a refit of the names that both know, all or
        nothing. The parent raises what is listed here; ``strict`` is its business."""
        # Runs the hooks; there are no parameters or buffers to copy to.
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, False, missing_keys, unexpected_keys, error_msgs
        )
        given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        known = {name: value for name, value in given.items() if name in self.table.canonical}
        found = {self.table.canonical[name] for name in known}
        present = self.present_optionals()
        missing = [
            p.spec.name
            for p in self.parameter_infos()
            if p.spec.name not in found and not present.get(p.spec.name)
        ]
        if strict:
            missing_keys += [prefix + name for name in missing]
            unexpected_keys += [prefix + name for name in given if name not in known]
        if not known:
            return
        try:
            self.refit(known, partial=bool(missing))
        except (Error, TypeError) as error:
            error_msgs.append(f"{prefix.removesuffix('.') or self.name}: {error}")

    @property
    def generation(self) -> int:
        """Number of the weights in use; 0 before the first weights of a stripped module."""
        bank = self.bank
        return 0 if bank is None else bank.generation

    def parameter(self, name: str) -> torch.Tensor:
        """A copy of a parameter's value in use.

        Raises:
            NotFoundError: No parameter has that name.
            StateError: The value was not retained, or there is none yet.
        """
        canonical = self.table.canonical.get(name)
        if canonical is None or not self.table.by_name[canonical].is_read:
            raise NotFoundError(f"[engine] no parameter '{name}'")
        cell = self.cells().get(canonical)
        if cell is not None:
            return cell.tensor.clone()
        engines = self.table.by_name[canonical].engines
        if not engines:
            raise StateError(f"[engine] {name}: the module has no weights yet")
        try:
            return self.engines[engines[0]].parameter(canonical)
        except NotFoundError as error:
            if not self.is_immutable:
                raise
            raise StateError(
                f"[engine] {name}: was not kept: the module has immutable weights"
            ) from error

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """The part of ``state_dict``: copies of every parameter the module reads, tied names
        included.

        Raises:
            StateError: A value was not retained, or there is none yet.
        """
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for parameter in self.parameter_infos():
            value = self.parameter(parameter.spec.name)
            for name in (parameter.spec.name, *parameter.aliases):
                destination[prefix + name] = value

    # ---- files ----

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        strip_weights: bool = False,
        immutable: bool = False,
    ) -> None:
        """Writes the module to one file, atomically; ``regraft.load`` reads it.

        Args:
            strip_weights: Leave the weights out; the loaded module must be refitted.
            immutable: Store the final constants only; the loaded module refuses refits.
        """
        from regraft.module.saving import save_module

        save_module(self, path, strip_weights=strip_weights, immutable=immutable)

    # ---- facts ----

    @property
    def call_spec(self) -> CallSpec:
        """How the program is called."""
        return self._call_spec

    @property
    def whole(self) -> Engine | None:
        """The engine that takes the whole program, if one does."""
        return self._whole

    @property
    def outline(self) -> list[str] | None:
        """What was compiled, to compare other programs with."""
        if self._whole is not None:
            return self._whole.outline
        lines: list[str] | None = self.facts.get("graph")
        return lines

    @property
    def settings_text(self) -> str | None:
        """The settings it was compiled with, as JSON."""
        text: str | None = self.facts.get("compilation")
        return text

    def constant_values(self) -> dict[str, torch.Tensor]:
        """ "engine_0: name" -> a constant as it is before packing, and name -> a weight of PyTorch
        segments.

        Raises:
            StateError: The module has no weights, or some parameters were not retained.
        """
        self.want_weights("give its constants")
        with self.snapshot() as cells:
            values = {
                f"{name}: {constant}": value
                for name, engine in zip(self.engine_names, self.engines, strict=True)
                for constant, value in engine.constant_values().items()
            }
            return values | {name: cell.tensor.clone() for name, cell in cells.items()}

    @property
    def backend(self) -> str:
        """Name of the backend of the engines; empty when there is none."""
        return self.engines[0].backend if self.engines else ""

    @property
    def from_cache(self) -> bool:
        """Whether the plans of all engines were found in an engine cache."""
        return bool(self.engines) and all(engine.from_cache for engine in self.engines)

    def signature(self) -> Signature:
        """Inputs, outputs and symbols with their ranges."""
        return self._signature

    def parameter_infos(self) -> list[Parameter]:
        """Every parameter the module reads, with its aliases and who reads it."""
        return [p for p in self.table.parameters if p.is_read]

    @property
    def engine_names(self) -> list[str]:
        """Names of the submodules that are engines."""
        return [segment.name for segment in self.layout.segments if segment.is_engine]

    def memory(self) -> ModuleMemoryReport:
        """Bytes held, by purpose."""
        cells = self.cells()
        before = {} if self._before is None else self._before.cells
        kept = {id(cell) for cell in cells.values()}
        computed = 0 if self.bank is None else self.bank.computed_bytes
        return add_memory(
            [engine.memory() for engine in self.engines],
            sum(cell.tensor.nbytes for cell in cells.values()) + computed,
            sum(cell.tensor.nbytes for cell in before.values() if id(cell) not in kept),
        )

    def refit_map(self) -> str:
        """Which parameter feeds which constants of which engine, and which PyTorch segments."""
        parts = [
            f"{name}\n{engine.refit_map()}"
            for name, engine in zip(self.engine_names, self.engines, strict=True)
        ]
        for segment in self.layout.segments:
            for weight in dict.fromkeys(segment.weights):
                parameter = self.table.by_name[weight]
                ties = "".join(f" = @{alias}" for alias in parameter.aliases)
                parts.append(f"@{weight}: {parameter.spec.text()}{ties}\n  -> {segment.name}\n")
        return "\n".join(parts)

    def steps(self) -> str:
        """The steps of all engines with the kernels chosen, and the PyTorch segments' code."""
        engines = dict(zip(self.engine_names, self.engines, strict=True))
        return "\n".join(
            f"{segment.name}\n"
            + (
                engines[segment.name].steps()
                if segment.is_engine
                else self.torch_segments[segment.name].code
            )
            for segment in self.layout.segments
        )

    def realised_plan(self) -> str:
        """The choices made on this machine, engine by engine."""
        return "\n".join(engine.realised_plan() for engine in self.engines)

    def __repr__(self) -> str:
        inputs = ", ".join(repr(spec) for spec in self._signature.inputs)
        return (
            f"regraft.Module({self.name!r}, backend={self.backend!r}, inputs=({inputs}), "
            f"segments=({', '.join(s.name for s in self.layout.segments)}), "
            f"generation={self.generation})"
        )

    def __copy__(self) -> Module:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Module:
        return self.fork()

    def __reduce__(self) -> Any:
        raise TypeError("a regraft.Module cannot be pickled; use regraft.save and regraft.load")

    # ---- for refits and saving ----

    @contextmanager
    def snapshot(self) -> Iterator[dict[str, Cell]]:
        """Keeps the weights as they are, and gives those of the PyTorch segments."""
        with self._refit_lock:
            yield self.cells()

    def want_weights(self, purpose: str) -> Bank:
        """The weights in use, read once; a StateError when the module has none yet."""
        bank = self.bank
        if bank is None:
            raise StateError(
                f"[engine] module '{self.name}' has no weights yet: it was stripped of them. Refit "
                f"it with all of its parameters before it can {purpose}"
            )
        return bank

    @property
    def has_weights(self) -> bool:
        """Whether the module can run."""
        return self.bank is not None

    def cells(self) -> dict[str, Cell]:
        """The tensors of PyTorch segments in use."""
        return dict(self._initial) if self.bank is None else self.bank.cells

    def present_optionals(self) -> dict[str, bool]:
        """By name: whether a parameter that no state_dict has is known already."""
        cells = self.cells()
        return {
            p.spec.name: not p.in_torch or p.spec.name in cells
            for p in self.table.parameters
            if p.optional
        }

    def pins(self) -> tuple[_regraft.Weights, ...]:
        """What the engines now have, pinned."""
        return tuple(engine.core.weights() for engine in self.engines)

    def next_generation(self) -> int:
        """Numbers are never used twice."""
        return next(self._generations)

    def set_bank(self, bank: Bank, before: Before | None) -> None:
        """Puts a bank in use. One assignment: a call has the old one or the new one."""
        self._before = before
        self.bank = bank

    def forget_before(self) -> None:
        """Gives up rolling back."""
        self._before = None


def _detached(output: Any, bank: Bank) -> Any:
    """The output, in memory that is not the bank's."""
    if not isinstance(output, torch.Tensor) or output.numel() == 0:
        return output
    is_own = output.untyped_storage().data_ptr() in bank.storages
    return output.clone() if is_own else output
