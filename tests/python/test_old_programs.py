"""Programs as each release wrote them are read for ever: a hard network in three dialects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import regraft
import support

DATA = Path(__file__).resolve().parents[1] / "program/data"
RELEASES = sorted(path.name for path in DATA.iterdir())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dialect", ["raw", "functional", "core"])
@pytest.mark.parametrize("release", RELEASES)
def test_program_of_a_release(release: str, dialect: str, backend: str) -> None:
    folder = DATA / release
    expected = load_file(folder / "expected.safetensors")
    engine = regraft.compile(folder / f"{dialect}.pt2", backend=backend)

    def check(weights: str) -> None:
        outputs = engine(expected["image"], expected["ids"])
        for name, have in zip(("logits", "pooled"), outputs, strict=True):
            assert support.relative_error(have, expected[f"{weights}.{name}"]) < 1e-5

    check("first")
    engine.refit(folder / "second.safetensors")
    check("second")
    engine.refit(folder / f"{dialect}.pt2")
    check("first")
    one = engine(expected["image"][:1], expected["ids"][:1])[0]
    assert torch.allclose(one, expected["first.logits"][:1], atol=1e-5)
