"""A module of one engine that takes the whole program: an engine as a ``torch.fx.GraphModule``."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch.export import ExportedProgram

from regraft import _regraft
from regraft.engine import Engine
from regraft.module.module import Module
from regraft.module.signature import make_signature
from regraft.module.split import Layout, Segment
from regraft.module.table import make_table


def whole_module(
    engine: Engine,
    core: _regraft.Program,
    program: ExportedProgram,
    call: str,
    optimum: Mapping[str, int],
) -> Module:
    """A module that calls the engine; a call costs what one of the engine does.

    Args:
        engine: Of the whole program; the module's from now on.
        core, program, call: The program, to the core and to PyTorch, and how it is called.
        optimum: Sizes that the engine was tuned for.
    """
    inputs = tuple(spec.name for spec in core.inputs())
    results = tuple(f"output_{i}" for i, _ in enumerate(core.outputs()))
    segment = Segment("engine_0", True, tuple((name, -1) for name in inputs), results)
    identity = engine.core.metadata("identity")
    return Module(
        name=engine.name,
        layout=Layout((segment,), inputs, tuple((name, "") for name in results)),
        engines=[engine],
        torch_segments={},
        table=make_table(core.parameters(), [[p.spec.name for p in engine.parameter_infos()]], []),
        cells={},
        call=call,
        signature=make_signature(core, program.range_constraints, optimum),
        explanation="",
        immutable=engine.is_immutable,
        identity=None if identity is None else json.loads(identity),
        facts={"compilation": engine.settings_text},
    )
