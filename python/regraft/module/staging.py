"""Everything that can be wrong with new weights, told in one error."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from regraft._handover import DTYPES, dtype_name, plain, resolved
from regraft.errors import Error, MismatchError, UnsupportedError
from regraft.module.source import Source
from regraft.module.table import Parameter, Table, spec_text

_MOST_SUGGESTIONS = 32
_FLOATS = ("f16", "bf16", "f32", "f64", "f8e4m3fn", "f8e5m2")
_COMPLEX = ("c64", "c128")
_CODES: dict[type[Error], str] = {
    MismatchError: "mismatch",
    UnsupportedError: "unsupported",
}


@dataclass
class Staged:
    """Names of a source, matched to the parameters of a module.

    Attributes:
        names: By canonical name: what the source calls it.
        unused: Names that feed nothing.
    """

    names: dict[str, list[str]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def raise_problems(stage: str, problems: list[str], error: type[Error] = MismatchError) -> None:
    """One error of all problems, if there are any."""
    if not problems:
        return
    if len(problems) == 1:
        text = f"[{stage}] {problems[0]}"
    else:
        text = f"[{stage}] {len(problems)} problems:\n  " + "\n  ".join(problems)
    raised = error(text)
    raised.stage = stage
    raised.code = _CODES.get(error, "state")
    raise raised


def stage(
    table: Table,
    source: Source,
    *,
    partial: bool,
    cast: bool,
    allow_unexpected: bool,
    is_present: Mapping[str, bool],
) -> Staged:
    """Matches names and checks types and ties.

    Args:
        is_present: By canonical name of an optional parameter: whether it has a value already.

    Raises:
        MismatchError: Lists every name that is missing or unknown, every tensor of another shape or
            dtype and every tie that is broken.
    """
    staged = Staged()
    unexpected: list[str] = []
    for name in source.names():
        canonical = table.canonical.get(name)
        if canonical is not None and table.by_name[canonical].is_read:
            staged.names.setdefault(canonical, []).append(name)
        elif canonical is not None or allow_unexpected:
            staged.unused.append(name)
        else:
            unexpected.append(name)
    problems = _unknown(table, staged, unexpected, partial)
    for parameter in table.parameters:
        names = staged.names.get(parameter.spec.name)
        if names is None:
            known = parameter.optional and is_present.get(parameter.spec.name, False)
            if parameter.is_read and not known and not partial:
                problems.append(_missing(parameter, source, unexpected))
            continue
        wrong = [p for name in names if (p := _wrong_spec(parameter, source, name, cast))]
        problems += wrong or _broken_ties(source, names)
    raise_problems("refit", problems)
    return staged


def _near(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    return f" (nearest: {near[0]})" if near else ""


def _unknown(table: Table, staged: Staged, unexpected: list[str], partial: bool) -> list[str]:
    candidates = [
        p.spec.name
        for p in table.parameters
        if p.is_read and (partial or p.spec.name not in staged.names)
    ]
    return [
        f"{name}: the module has no such parameter"
        + (_near(name, candidates) if i < _MOST_SUGGESTIONS else "")
        for i, name in enumerate(unexpected)
    ]


def _missing(parameter: Parameter, source: Source, unexpected: list[str]) -> str:
    near = _near(parameter.spec.name, unexpected[:_MOST_SUGGESTIONS])
    return (
        f"{parameter.spec.name}: want {parameter.spec.text()}, have nothing of that name in "
        f"{source.description}{near}"
    )


def can_cast(have: str, want: str) -> bool:
    """Whether `cast` converts between these dtypes, as the core does."""
    if have in _FLOATS:
        return want in _FLOATS
    if have in _COMPLEX:
        return want in _COMPLEX
    return have in DTYPES and want not in _COMPLEX


def _wrong_spec(parameter: Parameter, source: Source, name: str, cast: bool) -> str:
    want = parameter.spec
    try:
        dtype, dims = source.spec(name)
    except (Error, TypeError) as error:
        return f"{name}: {error}"
    converts = dims == want.dims and can_cast(dtype, want.dtype)
    if dims == want.dims and (dtype == want.dtype or (cast and converts)):
        return ""
    hint = " (cast converts it)" if converts else ""
    return f"{name}: want {want.text()}, have {spec_text(dtype, dims)}{hint}"


def _broken_ties(source: Source, names: list[str]) -> list[str]:
    if len(names) == 1:
        return []
    first = source.tensor(names[0])
    return [
        f"{name}: is the same tensor as {names[0]}, but the two have different values"
        for name in names[1:]
        if not same_bits(first, source.tensor(name))
    ]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    if a.device != b.device:
        a, b = plain(a), plain(b)
    return bool(_bytes(a).equal(_bytes(b)))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return resolved(tensor).contiguous().flatten().view(torch.uint8)


def digest(tensor: torch.Tensor) -> str:
    """A digest of a tensor's values, dtype and sizes."""
    state = hashlib.blake2b(digest_size=16)
    state.update(spec_text(dtype_name(tensor.dtype), tensor.shape).encode())
    state.update(memoryview(_bytes(plain(tensor)).numpy()))
    return state.hexdigest()


def want_identical(identity: Mapping[str, str], staged: Staged, source: Source) -> None:
    """For engines that accept only the weights they were compiled with.

    Raises:
        MismatchError: Lists every parameter of another value.
    """
    problems = []
    for canonical, names in staged.names.items():
        want, have = identity.get(canonical), digest(source.tensor(names[0]))
        if want is not None and want != have:
            problems.append(
                f"{names[0]}: want the value it was compiled with (digest {want}), have {have}; "
                "compile without refit_identical_engine_weights to refit other weights"
            )
    raise_problems("refit", problems)
