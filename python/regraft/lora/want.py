"""Whether an adapter fits a program: every offender in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from regraft._handover import dtype_name
from regraft.errors import MismatchError
from regraft.lora.adapter import Adapter, Delta
from regraft.lora.state import Parameter
from regraft.module.staging import raise_problems, same_bits
from regraft.module.table import spec_text

_FLOATS = ("f16", "bf16", "f32", "f64")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """ " (nearest: ...)", or nothing."""
    near = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f" (nearest: {near[0]})" if near else ""


def want_fitting(name: str, adapter: Adapter, parameters: Mapping[str, Parameter]) -> Adapter:
    """The adapter by canonical names.

    Raises:
        MismatchError: It does not fit; lists all of ``problems_of``.
    """
    problems = problems_of(adapter, parameters)
    raise_problems("lora", [f"{name}: {problem}" for problem in problems], MismatchError)
    return Adapter(
        {parameters[k].name: v for k, v in adapter.deltas.items()},
        {parameters[k].name: v for k, v in adapter.replaced.items()},
    )


def problems_of(adapter: Adapter, parameters: Mapping[str, Parameter]) -> list[str]:
    """Unknown parameters, shapes and ranks that do not fit, tied parameters not changed alike."""
    problems = [
        f"{parameter}: the program has no such parameter{nearest(parameter, parameters)}"
        for parameter in dict.fromkeys([*adapter.deltas, *adapter.replaced])
        if parameter not in parameters
    ]
    problems += _torn_ties(adapter, parameters)
    for parameter, delta in adapter.deltas.items():
        if parameter in parameters and (wrong := _misfit(delta, parameters[parameter])):
            problems.append(f"{parameter}: {wrong}")
    for parameter, replacement in adapter.replaced.items():
        want = parameters.get(parameter)
        if want is None:
            continue
        dtype, dims = dtype_name(replacement.value.dtype), tuple(replacement.value.shape)
        if dims != want.dims or (dtype != want.dtype and {dtype, want.dtype} - set(_FLOATS)):
            problems.append(
                f"{parameter}: want {spec_text(want.dtype, want.dims)}, have "
                f"{spec_text(dtype, dims)}"
            )
    return problems


def _torn_ties(adapter: Adapter, parameters: Mapping[str, Parameter]) -> list[str]:
    problems = []
    for name in [*adapter.deltas, *adapter.replaced]:
        if name not in parameters or not parameters[name].aliases:
            continue
        names = [parameters[name].name, *parameters[name].aliases]
        value = adapter.replaced.get(name)
        alike = value is not None and all(
            (other := adapter.replaced.get(n)) is not None and same_bits(other.value, value.value)
            for n in names
        )
        if not alike:
            ties = ", ".join(n for n in names if n != name)
            problems.append(f"{name}: is the same tensor as {ties}, which would change with it")
    return problems


def _misfit(delta: Delta, parameter: Parameter) -> str:
    a, b = tuple(delta.a.shape), tuple(delta.b.shape)
    dtypes = {parameter.dtype, dtype_name(delta.a.dtype), dtype_name(delta.b.dtype)}
    text = (
        f"A {spec_text(dtype_name(delta.a.dtype), a)} and B "
        f"{spec_text(dtype_name(delta.b.dtype), b)}"
    )
    weight = spec_text(parameter.dtype, parameter.dims)
    if dtypes - set(_FLOATS):
        return f"want floating tensors of 16 bits or more, have {text} for {weight}"
    if len(a) < 2 or len(b) < 2 or a[0] != b[1]:
        return f"{text} have different ranks"
    if fits(a, b, parameter.dims, delta.transposed):
        return ""
    hint = (
        "; the other way (fan_in_fan_out) fits"
        if fits(a, b, parameter.dims, not delta.transposed)
        else ""
    )
    how = "transposed, " if delta.transposed else ""
    return f"{text} do not fit {how}the weight {weight}{hint}"


def fits(a: tuple[int, ...], b: tuple[int, ...], weight: tuple[int, ...], transposed: bool) -> bool:
    """Whether B @ A has the weight's sizes; sizes of 1 at the end do not count."""
    a, b, weight = _matrix(a), _matrix(b), _matrix(weight)
    if len(b) != 2 or len(a) < 2 or len(weight) < 2 or a[0] != b[1]:
        return False
    if transposed:
        return len(a) == 2 and weight == (a[1], b[0])
    return weight == (b[0], *a[1:])


def _matrix(dims: tuple[int, ...]) -> tuple[int, ...]:
    while len(dims) > 2 and dims[-1] == 1:
        dims = dims[:-1]
    return dims
