"""Puts `models` (the zoo), the examples and `regraft` on the path; holds every test to the same
threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("REGRAFT_BUILD", ROOT / "build/dev"))

# Nothing may be fetched in a test; set before transformers is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "examples"))
sys.path.insert(0, str(BUILD / "python"))

import torch  # noqa: E402


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The one reason to skip a test of the cuda backend."""
    if item.get_closest_marker("cuda") is not None and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def command_line() -> Path:
    """The `regraft` executable of the build under test."""
    path = BUILD / "regraft"
    if not path.exists():
        pytest.fail(f"{path} is missing: cmake --build --preset dev")
    return path


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Where a test runs that is the same on the host and on a GPU; a backend's name too."""
    name: str = request.param
    return name
