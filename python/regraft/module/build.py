"""Builds a module of the segments that the core decided on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.export import ExportedProgram

from regraft import _regraft
from regraft._handover import Handover
from regraft.engine import Engine
from regraft.module import split
from regraft.module.bank import Cell, own_copy
from regraft.module.module import Module
from regraft.module.outline import outline_of
from regraft.module.signature import make_signature
from regraft.module.staging import digest
from regraft.module.table import Table, make_table
from regraft.settings import CompilationSettings, settings_text

Compile = Callable[[_regraft.Program, str], Engine]


def build_module(
    handover: Handover,
    core: _regraft.Program,
    info: _regraft.PartitionInfo,
    settings: CompilationSettings,
    name: str,
    call: str,
    optimum: dict[str, int],
    compile_segment: Compile,
) -> Module:
    """A module of a program that one engine cannot take.

    Args:
        compile_segment: Makes an engine of a segment's program and its name.
    """
    program: ExportedProgram = handover.program
    layout = split.layout_of(program, core, info)
    engines: list[Engine] = []
    torch_segments: dict[str, Any] = {}
    for segment, own in zip(layout.segments, info.segments, strict=True):
        if segment.is_engine:
            part = _regraft.segment_program(core, own)
            engines.append(compile_segment(part, f"{name}.{segment.name}"))
        else:
            torch_segments[segment.name] = split.torch_segment(program, core, own, segment.name)
    in_torch = split.torch_weights(layout)
    read_by_engine = [s.parameters for s in info.segments if s.backend]
    table = make_table(core.parameters(), read_by_engine, in_torch)
    wanted = [n for n in in_torch if not settings.strip_engine_weights or table.by_name[n].optional]
    return Module(
        name=name,
        layout=layout,
        engines=engines,
        torch_segments=torch_segments,
        table=table,
        cells={n: Cell(own_copy(handover.tensors[n])) for n in wanted},
        call=call,
        signature=make_signature(core, program.range_constraints, optimum),
        explanation=str(info),
        immutable=settings.immutable_weights,
        identity=identity_of(handover, table) if settings.refit_identical_engine_weights else None,
        facts={
            "compilation": settings_text(settings),
            "graph": outline_of(program),
        },
    )


def identity_of(handover: Handover, table: Table) -> dict[str, str]:
    """Digests of what the weights are compiled as, for ``refit_identical_engine_weights``."""
    return {
        p.spec.name: digest(handover.tensors[p.spec.name]) for p in table.parameters if p.is_read
    }
