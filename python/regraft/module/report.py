"""What refits and memory of a module come to: the engines' figures together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from regraft import _regraft


@dataclass(frozen=True)
class ModuleMemoryReport:
    """Bytes held by a module, by purpose, as ``MemoryReport`` of an engine."""

    constants: int = 0
    previous: int = 0
    retained: int = 0
    mapped: int = 0
    spare: int = 0
    sessions: int = 0


def add_memory(
    reports: Sequence[_regraft.MemoryReport], constants: int, previous: int
) -> ModuleMemoryReport:
    """The engines' memory, and the bytes of the PyTorch segments' weights and of what is kept of
    them."""
    return ModuleMemoryReport(
        constants=constants + sum(r.constants for r in reports),
        previous=previous + sum(r.previous for r in reports),
        retained=sum(r.retained for r in reports),
        mapped=sum(r.mapped for r in reports),
        spare=sum(r.spare for r in reports),
        sessions=sum(r.sessions for r in reports),
    )


@dataclass
class ModuleRefitReport:
    """As ``RefitReport`` of an engine, over all engines and PyTorch segments.

    Attributes:
        updated: Constants computed anew, "engine_0: $w", and tensors of PyTorch segments by name.
        engines: The report of every engine that took part, by name.
    """

    generation: int = 0
    dry_run: bool = False
    updated: list[str] = field(default_factory=list)
    untouched: int = 0
    parameters: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    non_finite: list[tuple[str, int]] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    stage_ms: float = 0.0
    check_ms: float = 0.0
    evaluate_ms: float = 0.0
    publish_ms: float = 0.0
    total_ms: float = 0.0
    gigabytes_per_second: float = 0.0
    memory: ModuleMemoryReport = field(default_factory=ModuleMemoryReport)
    engines: dict[str, _regraft.RefitReport] = field(default_factory=dict)

    def __str__(self) -> str:
        verb = "would refit" if self.dry_run else "refitted"
        lines = [
            f"{verb} {len(self.updated)} constants and tensors from {len(self.parameters)} "
            f"parameters, {self.untouched} untouched; generation {self.generation}",
            f"{self.bytes_in / 1e6:.2f} MB in, {self.bytes_out / 1e6:.2f} MB out, "
            f"{self.total_ms:.2f} ms, {self.gigabytes_per_second:.2f} GB/s",
        ]
        if self.unused:
            lines.append(f"{len(self.unused)} tensors of the source unused")
        lines += [f"{name}: {count} elements are not finite" for name, count in self.non_finite]
        return "\n".join(lines)
