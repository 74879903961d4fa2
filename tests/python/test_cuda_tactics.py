"""Every way in which the cuda backend may calculate a step, not the fastest alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import regraft
import support

pytestmark = pytest.mark.cuda

_LIMIT = {torch.float16: 1e-3, torch.bfloat16: 8e-3}


class _Attention(torch.nn.Module):
    def __init__(self, heads: int, causal: bool, scale: float | None) -> None:
        super().__init__()
        self.heads, self.causal, self.scale = heads, causal, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        y = functional.scaled_dot_product_attention(
            q, k, v, mask, is_causal=self.causal, scale=self.scale
        )
        return y.transpose(1, 2).flatten(2)


def _engine(
    model: torch.nn.Module, inputs: tuple[Tensor, ...], plan: str, tactic: str, precision: str
) -> regraft.Engine:
    """An engine that takes `tactic` instead of the plan's of this kind."""
    kind = tactic.split(":")[0]

    def compiled(wanted: str) -> regraft.Engine:
        realised = re.sub(rf"{kind}:\S+", wanted, plan)
        return regraft.compile(
            model, inputs, backend="cuda", precision=precision, realised=realised
        )

    try:
        engine = compiled(tactic)
    except regraft.MismatchError as error:
        # The library's algorithms for its parts belong to it.
        taken = re.search(rf"takes '({tactic}[+\d]\S+)'", str(error))
        if taken is None:
            raise
        engine = compiled(taken[1])
    assert tactic in engine.realised_plan()
    return engine


def _check(
    model: torch.nn.Module,
    inputs: tuple[Tensor, ...],
    want: Tensor,
    tactics: Sequence[str],
    limit: float,
    precision: str = "f32",
) -> None:
    """Compares the outputs of engines of each tactic."""
    engine = regraft.compile(model, inputs, backend="cuda", precision=precision)
    plan, given = engine.realised_plan(), tuple(x.cuda() for x in inputs)
    for tactic in tactics:
        engine = _engine(model, inputs, plan, tactic, precision)
        for _ in range(2):
            assert support.relative_error(engine(*given).cpu(), want) < limit, tactic


def _check_attention(
    heads: int,
    inputs: tuple[Tensor, ...],
    tactics: Sequence[str],
    *,
    causal: bool = False,
    scale: float | None = None,
) -> None:
    model = _Attention(heads, causal, scale).eval()
    want = model(*(x.double() if x.is_floating_point() else x for x in inputs))
    _check(model, inputs, want, [f"flash:{t}" for t in tactics], _LIMIT[inputs[0].dtype])


def _inputs(
    batch: int, queries: int, keys: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(queries + width)
    sizes = (queries, keys, keys)
    return tuple(torch.randn(batch, n, width, generator=generator).to(dtype) for n in sizes)


@pytest.mark.parametrize("dtype", _LIMIT, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("features", [40, 64, 72])
def test_many_queries(features: int, causal: bool, dtype: torch.dtype) -> None:
    inputs = _inputs(8, 300, 173, 8 * features, dtype)
    tactics = ["4.1.1.64", "4.2.1.64", "4.2.1.32", "8.1.1.64"]
    _check_attention(8, inputs, tactics, causal=causal)


@pytest.mark.parametrize("causal", [False, True])
def test_long_sequences(causal: bool) -> None:
    inputs = _inputs(2, 1100, 600, 8 * 40, torch.bfloat16)
    _check_attention(8, inputs, ["8.2.1.64", "8.1.1.128", "4.1.1.64"], causal=causal)


def test_few_keys_are_one_tile() -> None:
    inputs = _inputs(8, 300, 77, 8 * 40, torch.bfloat16)
    _check_attention(8, inputs, ["4.1.1.80", "4.2.1.32"], scale=-0.2)


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16], ids=str)
@pytest.mark.parametrize("keys", [173, 174])
def test_masks(keys: int, dtype: torch.dtype) -> None:
    mask = torch.randn(8, 1, 300, keys, generator=torch.Generator().manual_seed(2))
    given = mask > 0 if dtype == torch.bool else mask.to(dtype)
    inputs = (*_inputs(8, 300, keys, 8 * 40, torch.bfloat16), given)
    pairs = ["4.2.1.64", "4.2.1.32"] * (dtype == torch.bool)
    _check_attention(8, inputs, ["4.1.1.64", "8.1.1.64", *pairs])


def test_tiles_without_keys() -> None:
    mask = torch.ones(300, 300, dtype=torch.bool).tril()
    mask[:, 64:192] = False
    inputs = (*_inputs(8, 300, 300, 8 * 40, torch.bfloat16), mask)
    _check_attention(8, inputs, ["4.1.1.64", "4.2.1.64", "8.1.1.64"])


@pytest.mark.parametrize("features", [40, 64, 128])
def test_few_queries(features: int) -> None:
    inputs = _inputs(1, 200, 333, 4 * features, torch.bfloat16)
    tactics = ["2.1.2.32", "4.1.1.64"] + ["2.1.4.32", "1.1.4.32"] * (features < 128)
    _check_attention(4, inputs, tactics, causal=True)


@pytest.mark.parametrize("columns", [1029, 1030, 1031, 1036])
def test_columns_that_fill_no_vectors(columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    x = torch.randn(3, 67, 64, generator=generator).bfloat16()
    model = torch.nn.Linear(64, columns, bias=False).bfloat16().eval()
    want = functional.linear(x.double(), model.weight.double())
    _check(model, (x,), want, ["columns:whole", "columns:padded"], _LIMIT[torch.bfloat16])


@pytest.mark.parametrize("columns", [1027, 1030, 1036])
def test_columns_of_many_rows(columns: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1037, 16, generator=generator).half()
    model = torch.nn.Linear(16, columns, bias=False).half().eval()
    want = functional.linear(x.double(), model.weight.double())
    tactics = ["columns:whole", "columns:padded", "columns:staggered"]
    _check(model, (x,), want, tactics, _LIMIT[torch.float16])


def test_columns_of_rows_that_the_plan_pads() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(201, 64, generator=generator).half()
    linear = torch.nn.Linear(64, 1029).half().eval()
    model = torch.nn.Sequential(linear, torch.nn.Softmax(-1)).eval()
    want = functional.linear(x.double(), linear.weight.double(), linear.bias.double()).softmax(-1)
    _check(model, (x,), want, ["columns:whole", "columns:split"], _LIMIT[torch.float16])


@pytest.mark.parametrize("columns", [1029, 1030, 1031, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_results_in_f32_are_not_rounded_before(columns: int, bias: bool) -> None:
    torch.manual_seed(columns)
    model = torch.nn.Linear(64, columns, bias=bias).eval()
    x = torch.randn(3, 67, 64)
    want = functional.linear(
        x.bfloat16().double(),
        model.weight.bfloat16().double(),
        model.bias.double() if bias else None,
    )
    tactics = ["columns:whole", "columns:padded"] + ["columns:staggered"] * (not bias)
    _check(model, (x,), want, tactics if columns > 40 else ["cublasLt:"], 1e-5, "bf16")
