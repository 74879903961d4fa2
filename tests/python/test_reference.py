"""The reference kernels against PyTorch, on every conformance case.

`evaluate_cases` writes the inputs and the reference results of tests/conformance/cases/*.cases;
each case's `# torch:` expression is evaluated here on the same inputs.
"""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("REGRAFT_BUILD", ROOT / "build/dev"))
FILES = sorted(path.stem for path in (ROOT / "tests/conformance/cases").glob("*.cases"))

DTYPES = {
    "bool": torch.bool,
    "u8": torch.uint8,
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
    "c64": torch.complex64,
    "c128": torch.complex128,
    "f8e4m3fn": torch.float8_e4m3fn,
    "f8e5m2": torch.float8_e5m2,
}
# Largest relative L2 error. 16-bit floats: one unit in the last place.
TOLERANCE = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 1e-6, "f64": 1e-12}
TOLERANCE |= {"c64": TOLERANCE["f32"], "c128": TOLERANCE["f64"]}


@dataclass
class Case:
    name: str
    dtype: str
    expression: str
    sizes: dict[str, float]
    tolerance: dict[str, float]
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    error: str = ""


def read_tensor(data: bytes, dtype: str, dims: str, offset: str) -> torch.Tensor:
    shape = [int(size) for size in dims.split(",") if size]
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=DTYPES[dtype])
    flat = torch.frombuffer(data, dtype=DTYPES[dtype], count=count, offset=int(offset))
    return flat.reshape(shape)


def pairs(text: str) -> dict[str, float]:
    return {key: float(value) for key, value in (p.split("=") for p in text.split(",") if p)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([BUILD / "tests/evaluate_cases", folder], check=True)
    data = bytearray((folder / "data.bin").read_bytes())
    found: dict[str, list[Case]] = {name: [] for name in FILES}
    for line in (folder / "cases.txt").read_text().splitlines():
        kind, *fields = line.split("\t")
        if kind == "case":
            file, name, dtype, sizes, tolerance, expression = fields
            case = Case(name, dtype, expression, pairs(sizes), pairs(tolerance))
            found[file].append(case)
        elif kind == "input":
            case.inputs[fields[0]] = read_tensor(data, *fields[1:])
        elif kind == "output":
            case.outputs.append((fields[1], read_tensor(data, *fields[1:])))
        else:
            case.error = fields[0]
    return found


def evaluate(case: Case) -> list[torch.Tensor]:
    names = {"torch": torch, "F": F, "math": math, "np": np, **case.inputs}
    names |= {name: int(size) for name, size in case.sizes.items()}
    if case.dtype:
        names["T"] = DTYPES[case.dtype]
    with torch.no_grad():
        result = eval(case.expression, names)
    return [result] if isinstance(result, torch.Tensor) else list(result)


def difference(want: torch.Tensor, have: torch.Tensor, allowed: float) -> str:
    """Why `have` does not match, or the empty string."""
    if want.dtype != have.dtype or want.shape != have.shape:
        return f"torch gives {want.dtype}{list(want.shape)}, have {have.dtype}{list(have.shape)}"
    if not (want.is_floating_point() or want.is_complex()):
        wrong = int((want != have).sum())
        return f"{wrong} of {want.numel()} elements differ" if wrong else ""
    if want.is_complex():
        want, have = torch.view_as_real(want.resolve_conj()), torch.view_as_real(have)
    want, have = want.double(), have.double()
    odd = ~want.isfinite() | ~have.isfinite()
    if not torch.equal(want[odd].nan_to_num(nan=0.5), have[odd].nan_to_num(nan=0.5)):
        return "NaN or infinity at other positions"
    want, have = want[~odd], have[~odd]
    if int(((want == 0) & (have == 0) & (want.signbit() != have.signbit())).sum()):
        return "zeros of other signs"
    norm = want.norm().item()
    error = (want - have).norm().item() / (norm if norm > 0 else 1)
    return f"relative error {error:.3g}, allowed {allowed:.3g}" if error > allowed else ""


def failure(case: Case) -> str:
    if case.error:
        return case.error
    try:
        results = evaluate(case)
    except Exception as error:
        return f"torch: {case.expression}: {error!r}"
    if len(results) < len(case.outputs):
        return f"torch gives {len(results)} results, have {len(case.outputs)}"
    for want, (dtype, have) in zip(results, case.outputs, strict=False):
        allowed = case.tolerance.get(dtype, TOLERANCE.get(dtype, 0))
        if problem := difference(want, have, allowed):
            return problem
    return ""


@pytest.mark.parametrize("file", FILES)
def test_reference_matches_torch(cases: dict[str, list[Case]], file: str) -> None:
    assert cases[file], "no cases"
    problems = [f"{case.name}: {text}" for case in cases[file] if (text := failure(case))]
    assert not problems, "\n" + "\n".join(problems)
