"""Every model, in every dialect, built and refitted, on every backend, against PyTorch."""

from __future__ import annotations

import pytest

import support
from models import zoo

BACKENDS = [("reference", "f32"), ("cpu", "f32"), ("cpu", "bf16")]


def _names(*, tiny: bool) -> list[object]:
    """One process takes all tests of a model, so that PyTorch answers once."""
    names = zoo.names(tiny=tiny)
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


def _check(name: str, dialect: str, backend: str, precision: str) -> None:
    engine = support.compiled(name, dialect, backend=backend, precision=precision)
    for batch, sequence in ((2, None), (3, 7)):
        inputs = zoo.example_inputs(name, batch, seed=5, sequence=sequence)
        want = support.truth_of(name, 0, batch, sequence)
        support.check_outputs(precision, engine(*inputs), want)
    report = engine.refit(support.model(name, 1))
    assert report.updated
    want = support.truth_of(name, 1, batch, sequence)
    support.check_outputs(precision, engine(*inputs), want)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("name", _names(tiny=True))
def test_no_reference_kernel_in_a_run(name: str, precision: str) -> None:
    engine = support.compiled(name, "raw", backend="cpu", precision=precision)
    tactics = [line for line in engine.steps().splitlines() if line.startswith("tactic compute")]
    assert tactics
    assert not [line for line in tactics if line.endswith("reference")]


@pytest.mark.parametrize(("backend", "precision"), BACKENDS)
@pytest.mark.parametrize("dialect", zoo.DIALECTS)
@pytest.mark.parametrize("name", _names(tiny=True))
def test_tiny_model(name: str, dialect: str, backend: str, precision: str) -> None:
    _check(name, dialect, backend, precision)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", zoo.DIALECTS)
@pytest.mark.parametrize("name", _names(tiny=False))
def test_published_size(name: str, dialect: str) -> None:
    for precision in ("f32", "bf16"):
        _check(name, dialect, "cpu", precision)
