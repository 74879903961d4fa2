"""Replacing the weights of compiled programs, in the words of Torch-TensorRT."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from regraft import _regraft
from regraft._compile import compile, open_program
from regraft._exporting import export
from regraft._handover import functional
from regraft._tracing import tracing_lock
from regraft._want import finite, want_call
from regraft._weights import Weights
from regraft.engine import Engine
from regraft.errors import (
    Error,
    InvalidArgumentError,
    MismatchError,
    StateError,
    UnsupportedError,
)
from regraft.exported import compiled_of, held_tensor, replace_held
from regraft.module.module import Module
from regraft.module.outline import outline_of, want_same
from regraft.settings import CompilationSettings, restored_settings
from regraft.truncation import truncated

Compiled: TypeAlias = Engine | Module


class VerificationError(Error, ValueError):
    """A refitted program and the one its weights come from give different outputs.

    Attributes:
        figures: One for each output, those that agree included.
        rtol, atol: What was allowed.
    """

    def __init__(self, message: str, figures: list[OutputFigures], rtol: float, atol: float):
        super().__init__(message)
        self.figures = figures
        self.rtol = rtol
        self.atol = atol
        self.stage, self.code = "refit", "mismatch"


@dataclass(frozen=True)
class OutputFigures:
    """How far an output is from what was wanted.

    Attributes:
        max_absolute, max_relative: Largest differences of elements.
        outside: Elements beyond ``atol + rtol * |want|``; NaN beside a number counts.
    """

    index: int
    max_absolute: float
    max_relative: float
    outside: int
    elements: int

    def __str__(self) -> str:
        return (
            f"output {self.index}: {self.outside} of {self.elements} elements differ, by at most "
            f"{self.max_absolute:.3g} (relative {self.max_relative:.3g})"
        )


def refit_module_weights(
    compiled_module: Any,
    new_weight_module: Weights,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    verify_output: bool = False,
    use_weight_map_cache: bool = True,
    in_place: bool = False,
    *,
    inputs: Sequence[Any] | None = None,
    rtol: float = 5e-3,
    atol: float = 5e-3,
    cast: bool = False,
) -> Any:
    """A compiled program with other weights.

    Args:
        compiled_module: A ``Module``, an ``Engine``, or an ExportedProgram (or the module of one)
            that holds one.
        new_weight_module: An ExportedProgram of the same architecture; or a module, a state_dict or
            the path of a ``.safetensors`` or ``.pt2`` file.
        arg_inputs, kwarg_inputs: Inputs to verify with.
        verify_output: Compare every output with the new program's; before anything is published.
        use_weight_map_cache: The map from parameters to constants is part of what was compiled.
            False: make it anew from the new program, and want it to be the same.
        in_place: Keep every address; for an ExportedProgram, write to its constant.
        inputs: Another name of ``arg_inputs``.
        rtol, atol: Tolerances of ``verify_output``.
        cast: Convert tensors of another dtype.

    Returns:
        In place, ``compiled_module``; otherwise a new ``Engine`` or ``Module`` that shares plans
        and unchanged weights with it, which stays as it was.

    Raises:
        MismatchError: Another architecture, or weights that do not fit; lists what differs.
        VerificationError: The outputs differ; the weights in use stay as they were.
        StateError: The program is immutable.
    """
    if inputs is not None:
        if arg_inputs is not None:
            raise InvalidArgumentError("[refit] inputs and arg_inputs are the same; pass one")
        arg_inputs = inputs
    held = None if isinstance(compiled_module, Engine | Module) else held_tensor(compiled_module)
    compiled = _compiled(compiled_module, held)
    if isinstance(new_weight_module, ExportedProgram):
        _want_same_graph(compiled, new_weight_module)
    if not use_weight_map_cache:
        _want_same_map(compiled, new_weight_module)
    if not in_place or verify_output or held is not None:
        refitted = compiled.fork()
        refitted.refit(new_weight_module, cast=cast)
        if verify_output:
            try:
                verify(refitted, new_weight_module, arg_inputs, kwarg_inputs, rtol=rtol, atol=atol)
            except VerificationError as error:
                # Whoever keeps the error must not keep the fork, which shares memory.
                del refitted
                raise error.with_traceback(None) from None
        if not in_place:
            refitted.forget_previous()  # Those are the original's, which may want to write to them.
            return refitted
        if held is not None:
            replace_held(held, refitted)
            return compiled_module
        del refitted  # It shares memory that is about to be written.
    compiled.refit(new_weight_module, cast=cast, in_place=True)
    return compiled_module


def verify(
    compiled: Compiled,
    program: Any,
    arg_inputs: Sequence[Any] | None,
    kwarg_inputs: Mapping[str, Any] | None,
    *,
    rtol: float = 5e-3,
    atol: float = 5e-3,
) -> list[OutputFigures]:
    """Compares every output of a compiled program with that of the program itself.

    Args:
        program: An ExportedProgram or a module.

    Returns:
        How far the outputs are apart.

    Raises:
        VerificationError: Further than the tolerances.
        InvalidArgumentError: There are no inputs, or nothing to compare with.
    """
    if arg_inputs is None and kwarg_inputs is None:
        raise InvalidArgumentError("[refit] verify_output needs arg_inputs or kwarg_inputs")
    if isinstance(program, ExportedProgram):
        program = program.module()
    if not isinstance(program, torch.nn.Module):
        raise InvalidArgumentError(
            "[refit] verify_output needs a program to compare with: pass the new weights as an "
            f"ExportedProgram or a module, not as {type(program).__name__}"
        )
    want_call("refit", () if arg_inputs is None else arg_inputs, kwarg_inputs)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if finite(f"[refit] {name}", value) < 0:
            raise InvalidArgumentError(f"[refit] {name}: want 0 or more, have {value}")
    args, kwargs = tuple(arg_inputs or ()), dict(kwarg_inputs or {})
    with torch.no_grad():
        have = pytree.tree_leaves(compiled(*args, **kwargs))
        want = pytree.tree_leaves(program(*args, **kwargs))
    if len(have) != len(want):
        raise VerificationError(
            f"[refit] outputs: want {len(want)}, have {len(have)}", [], rtol, atol
        )
    figures, problems = [], []
    for i, (mine, theirs) in enumerate(zip(have, want, strict=True)):
        if not isinstance(theirs, torch.Tensor):
            if mine != theirs:
                problems.append(f"output {i}: want {theirs!r}, have {mine!r}")
            continue
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            problems.append(
                f"output {i}: want {theirs.dtype} {tuple(theirs.shape)}, have {mine.dtype} "
                f"{tuple(mine.shape)}"
            )
            continue
        figures.append(_figures(i, mine, theirs, rtol, atol))
        if figures[-1].outside:
            problems.append(str(figures[-1]))
    if problems:
        text = "\n  ".join(problems)
        raise VerificationError(
            f"[refit] outputs differ (rtol {rtol:g}, atol {atol:g}):\n  {text}", figures, rtol, atol
        )
    return figures


def construct_refit_mapping(
    module: torch.nn.Module | ExportedProgram,
    inputs: Sequence[Any],
    settings: CompilationSettings | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of the engines that a program compiles to, as they are before packing.

    Args:
        module: A graph module, a module, or an ExportedProgram.
        inputs: Example inputs; not used for an ExportedProgram.

    Returns:
        By engine weight name; "engine_0: w" where there are several engines, and by parameter name
        for PyTorch segments. What NumPy does not have (bfloat16, float8) comes as float32, which
        holds it exactly.
    """
    if not isinstance(module, ExportedProgram):
        want_call("refit", inputs, None)
    args = () if isinstance(module, ExportedProgram) else tuple(inputs)
    if isinstance(module, fx.GraphModule):
        # Those of torch.export say that they are in training mode, and cannot leave it.
        module, args = export(module, args, {}), ()
    compiled = compile(module, args, settings=settings)
    if not isinstance(compiled, Engine | Module):
        raise InvalidArgumentError("[refit] settings: a dry run has no weights")
    return {name: _to_numpy(value) for name, value in compiled.constant_values().items()}


def _to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    is_known = tensor.dtype not in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
    array: np.ndarray[Any, Any] = (tensor if is_known else tensor.float()).numpy()
    return array


def _compiled(module: Any, held: torch.Tensor | None) -> Compiled:
    if isinstance(module, Engine | Module):
        return module
    if held is not None:
        return compiled_of(held)
    raise TypeError(
        "want a regraft.Module, a regraft.Engine, or an ExportedProgram or graph module that holds "
        f"one, have {type(module).__name__}"
    )


def _want_same_graph(compiled: Compiled, program: ExportedProgram) -> None:
    want = compiled.outline
    if want is None:
        return  # The weights' names and types must do.
    stored = compiled.settings_text
    settings = CompilationSettings() if stored is None else restored_settings(stored)
    if isinstance(compiled, Module) and compiled.whole is None:
        form = truncated(program) if settings.truncate_double else functional(program)
        want_same(outline_of(form), want)
        return

    def outlined(form: ExportedProgram) -> list[str]:
        core = open_program(form, "program", settings.truncate_double).core
        return _regraft.outline(core, {"disabled_passes": list(settings.disabled_passes)})

    # Each form of the new program may be the one that was compiled.
    with contextlib.suppress(UnsupportedError):
        if outlined(program) == want:
            return
    have = outlined(functional(program))
    if have == want:
        return
    with tracing_lock():
        core_aten = program.run_decompositions()
    if outlined(core_aten) != want:
        want_same(have, want)


def _want_same_map(compiled: Compiled, program: Any) -> None:
    if not isinstance(program, ExportedProgram):
        raise InvalidArgumentError(
            "[refit] use_weight_map_cache=False makes the map anew from the new program: pass an "
            f"ExportedProgram, not {type(program).__name__}"
        )
    stored = compiled.settings_text
    if stored is None:
        raise StateError("[refit] the settings it was compiled with are not known: the map is all")
    rebuilt = compile(program, settings=restored_settings(stored, strip_engine_weights=True))
    own = compiled.whole if isinstance(compiled, Module) else None
    have, want = rebuilt.refit_map().splitlines(), (own or compiled).refit_map().splitlines()
    if have == want:
        return
    differ = [f"want {w!r}, have {h!r}" for h, w in zip(have, want, strict=False) if h != w]
    if len(have) != len(want):
        differ.append(f"want {len(want)} lines, have {len(have)}")
    raise MismatchError(
        "[refit] the new program maps its parameters otherwise:\n  " + "\n  ".join(differ[:20])
    )


def _figures(
    index: int, have: torch.Tensor, want: torch.Tensor, rtol: float, atol: float
) -> OutputFigures:
    if want.dtype.is_complex:
        have, want = have.to(torch.complex128), want.to(torch.complex128)
    else:
        have, want = have.double(), want.double()
    close = torch.isclose(have, want, rtol=rtol, atol=atol, equal_nan=True)
    difference = (have - want).abs()
    finite = difference[torch.isfinite(difference)]
    relative = (difference / want.abs().clamp_min(1e-30))[torch.isfinite(difference)]
    return OutputFigures(
        index=index,
        max_absolute=float(finite.max()) if finite.numel() else 0.0,
        max_relative=float(relative.max()) if relative.numel() else 0.0,
        outside=int((~close).sum()),
        elements=want.numel(),
    )
