"""A refit of a whole module: everything that can fail first, then one assignment."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from regraft import _regraft
from regraft._handover import dtype_name
from regraft.errors import Error, MismatchError, StateError
from regraft.module.bank import Bank, Cell
from regraft.module.report import ModuleRefitReport
from regraft.module.request import RefitRequest
from regraft.module.source import Source, row_of
from regraft.module.staging import raise_problems, stage, want_identical

if TYPE_CHECKING:
    from regraft.module.module import Module


@dataclass(frozen=True)
class Before:
    """What `rollback` goes back to: the engines that changed know their own part."""

    generation: int
    engines: tuple[int, ...]
    cells: dict[str, Cell]


class Transaction:
    """One change of a module's weights. The constructor does all but make them visible."""

    def __init__(self, module: Module, source: Source, request: RefitRequest) -> None:
        self._module = module
        self._request = request
        self._report = ModuleRefitReport(dry_run=request.dry_run)
        begin = time.perf_counter()
        if module.is_immutable:
            raise StateError(
                f"[refit] module '{module.name}' has immutable weights: it cannot be refitted"
            )
        present = module.present_optionals()
        staged = stage(
            module.table,
            source,
            partial=request.partial,
            cast=request.cast,
            allow_unexpected=request.allow_unexpected,
            is_present=present,
        )
        if module.identity is not None:
            want_identical(module.identity, staged, source)
        self._names = staged.names
        self._report.unused = staged.unused
        self._report.stage_ms = _ms(begin)
        begin = time.perf_counter()
        self._rejected: list[str] = []
        self._values = self._torch_values(source)
        self._want_complete()
        self._engines = self._prepare_engines(source)
        self._report.evaluate_ms = _ms(begin)
        self._sum_up(source)

    @property
    def report(self) -> ModuleRefitReport:
        return self._report

    # ---- prepare ----

    def _torch_values(self, source: Source) -> dict[str, torch.Tensor]:
        """New tensors of the PyTorch segments, in memory of their own and of the declared dtype."""
        values: dict[str, torch.Tensor] = {}
        for canonical, names in self._names.items():
            parameter = self._module.table.by_name[canonical]
            if not parameter.in_torch:
                continue
            given = source.tensor(names[0])
            if dtype_name(given.dtype) != parameter.spec.dtype:
                converted = _regraft.converted(row_of(names[0], given), parameter.spec.dtype)
                given = converted
            old = self._module.cells().get(canonical)
            value = torch.empty_like(given if old is None else old.tensor)
            value.copy_(given)
            values[canonical] = value
            if self._request.non_finite == "ignore" or not (
                value.is_floating_point() or value.is_complex()
            ):
                continue
            count = int(value.numel() - torch.isfinite(value).sum())
            if count and self._request.non_finite == "reject":
                self._rejected.append(f"{canonical}: {count} elements are not finite")
            elif count and not parameter.engines:
                self._report.non_finite.append((canonical, count))
        return values

    def _want_complete(self) -> None:
        have = {*self._module.cells(), *self._values}
        missing = [
            f"{p.spec.name}: want {p.spec.text()}: the module has no weights yet"
            for p in self._module.table.parameters
            if p.in_torch and p.spec.name not in have
        ]
        raise_problems("refit", missing, StateError)

    def _prepare_engines(self, source: Source) -> dict[int, _regraft.PreparedRefit]:
        prepared: dict[int, _regraft.PreparedRefit] = {}
        errors: list[Error] = []
        for index, engine in enumerate(self._module.engines):
            names = self._given_to(index)
            if not names and self._module.has_weights:
                continue
            try:
                prepared[index] = source.prepare(engine.core, names, self._request.core())
            except Error as error:
                errors.append(error)
        if len(errors) == 1 and not self._rejected:
            raise errors[0]
        problems = [*self._rejected, *(str(error) for error in errors)]
        kind = MismatchError if self._rejected or not errors else type(errors[0])
        raise_problems("refit", problems, kind)
        return prepared

    def _given_to(self, engine: int) -> list[str]:
        return [
            name
            for canonical, names in self._names.items()
            if engine in self._module.table.by_name[canonical].engines
            for name in names
        ]

    def _sum_up(self, source: Source) -> None:
        report, module = self._report, self._module
        report.generation = module.generation
        report.parameters = list(self._names)
        report.updated = list(self._values)
        report.untouched = len(module.cells().keys() - self._values.keys())
        for canonical, names in self._names.items():
            if canonical in self._values:
                report.bytes_out += self._values[canonical].nbytes
            report.bytes_in += source.tensor(names[0]).nbytes
        for index, engine in enumerate(module.engines):
            name = module.engine_names[index]
            if index not in self._engines:
                report.untouched += len(engine.constants())
                continue
            own = self._engines[index].report()
            report.engines[name] = own
            report.updated += [f"{name}: {constant}" for constant in own.updated]
            report.untouched += own.untouched
            report.bytes_out += own.bytes_out
            report.check_ms += own.check_ms
            known = {n for n, _ in report.non_finite}
            report.non_finite += [(n, c) for n, c in own.non_finite if n not in known]
        report.memory = module.memory()
        report.total_ms = report.stage_ms + report.evaluate_ms

    # ---- publish ----

    def publish(self) -> ModuleRefitReport:
        """Makes the new weights those of the module.

        Raises:
            StateError: In place: running calls did not end, or memory is shared with a fork.
        """
        begin = time.perf_counter()
        if self._request.in_place and self._module.has_weights:
            self._publish_in_place()
        else:
            self._publish_beside()
        report = self._report
        report.generation = self._module.generation
        report.publish_ms = _ms(begin)
        report.total_ms += report.publish_ms
        if report.total_ms > 0:
            report.gigabytes_per_second = (report.bytes_in + report.bytes_out) / (
                report.total_ms * 1e6
            )
        report.memory = self._module.memory()
        return report

    def _publish_beside(self) -> None:
        # Readers hold the pins of the old bank: what the engines publish is seen with the new one.
        module = self._module
        had_weights = module.has_weights
        done: list[int] = []
        try:
            for index, prepared in self._engines.items():
                prepared.publish()
                done.append(index)
            cells = module.cells() | {name: Cell(v) for name, v in self._values.items()}
            before = Before(module.generation, tuple(self._engines), module.cells())
            bank = Bank(module.next_generation(), module.pins(), cells)
        except BaseException:
            if had_weights:
                roll_back_engines(module, done)
            raise
        module.set_bank(bank, before if had_weights else None)

    def _publish_in_place(self) -> None:
        module = self._module
        with module.gate.exclusive(self._request.wait_seconds):
            old = module.bank
            assert old is not None
            old.release()
            module.forget_before()
            try:
                try:
                    self._check_in_place(old)
                except StateError:
                    gc.collect()  # A fork that nobody holds any more may be waiting for this.
                    self._check_in_place(old)
                # Nothing can fail from here on, but that calls of an engine that takes the whole
                # program, which pass the gate by, do not end: it then stays as it was.
                for prepared in self._engines.values():
                    prepared.publish()
            except BaseException:
                module.set_bank(Bank(old.generation, module.pins(), old.cells), None)
                raise
            with torch.no_grad():
                for name, value in self._values.items():
                    old.cells[name].tensor.copy_(value)
            module.set_bank(Bank(module.next_generation(), module.pins(), old.cells), None)

    def _check_in_place(self, old: Bank) -> None:
        for prepared in self._engines.values():
            prepared.check()
        shared = [name for name in self._values if old.cells[name].is_shared_beyond(old)]
        raise_problems(
            "refit",
            [f"{name}: its memory is shared with a fork and cannot be written" for name in shared],
            StateError,
        )


def roll_back_engines(module: Module, indices: Iterable[int]) -> None:
    """Engines back to their generation before; all of them or none.

    Raises:
        StateError: One of them has none any more.
    """
    done: list[int] = []
    try:
        for index in indices:
            module.engines[index].rollback()
            done.append(index)
    except Error:
        for index in done:
            module.engines[index].rollback()
        raise


def _ms(begin: float) -> float:
    return (time.perf_counter() - begin) * 1e3
