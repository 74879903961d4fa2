"""Times of an engine's steps: what is counted must be right, what is timed must be plausible."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import regraft
from support import same_bits


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.linear = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(torch.relu(self.convolution(x))).flatten(2).transpose(1, 2)
        z = self.linear(y)
        return nn.functional.scaled_dot_product_attention(z, z, z)


def _flops(batch: int, size: int) -> int:
    pixels = size * size
    convolution = batch * 6 * pixels * 2 * 9
    up = batch * 6 * pixels * 5 * 4
    linear = batch * 4 * pixels * 7 * 5
    attention = 2 * batch * (4 * pixels) ** 2 * 7
    return 2 * (convolution + up + linear + attention)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_every_step_is_counted_and_timed(backend: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 4, 6, 6)
    batch = torch.export.Dim("batch", min=1, max=8)
    engine = regraft.compile(
        _Net().eval(), (x,), backend=backend, dynamic_shapes=({0: batch},), optimum=(x[:2],)
    )
    before = engine(x)
    profile = engine.profile(x, runs=3)
    assert (profile.engine, profile.device, profile.runs) == ("_Net", "cpu", 3)
    assert profile.flops == _flops(3, 6)
    assert all(step.seconds > 0 and step.bytes > 0 for step in profile.steps)
    assert {step.kernel.split(".")[0] for step in profile.steps} <= {backend, "reference"}
    first = profile.steps[0]
    assert first.kernel.endswith("convolution")
    assert first.flops == 2 * 3 * 6 * 36 * 18
    assert first.bytes == 4 * (3 * 4 * 36 + 6 * 2 * 9 + 6 + 3 * 6 * 36)
    peaks = {peak.of: peak.per_second for peak in profile.peaks}
    assert set(peaks) == {"copy", "f32"}
    assert first.roofline_seconds == pytest.approx(
        max(first.bytes / peaks["copy"], first.flops / peaks["f32"])
    )
    assert first.share == pytest.approx(first.roofline_seconds / first.seconds)
    assert profile.steps_seconds == pytest.approx(sum(step.seconds for step in profile.steps))
    # Sizes that it is tuned for, without inputs.
    assert engine.profile(runs=1).flops == _flops(2, 6)
    assert same_bits(engine(x), before)


def test_the_table_has_the_longest_first() -> None:
    engine = regraft.compile(_Net().eval(), (torch.randn(1, 4, 6, 6),))
    profile = engine.profile(runs=2)
    lines = str(profile).splitlines()
    assert profile.clock == "the host's clock"
    assert lines[0] == (
        f"_Net on cpu, {len(profile.steps)} steps, medians of 2 runs by {profile.clock}"
    )
    assert lines[1].split()[:4] == ["step", "us", "of", "all"]
    rows = [line.split() for line in lines[2 : 2 + len(profile.steps)]]
    assert sorted(int(row[0]) for row in rows) == list(range(len(profile.steps)))
    times = [float(row[1]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert lines[2 + len(rows)].split()[0] == "all"
    assert lines[-2].startswith("roofline of memory: ")
    assert "measured: product" in lines[-1]


def test_what_cannot_be_profiled_is_said() -> None:
    model, x = _Net().eval(), torch.randn(1, 4, 6, 6)
    engine = regraft.compile(model, (x,))
    with pytest.raises(regraft.MismatchError, match=r"input 'x': want f32\[1,4,6,6\]"):
        engine.profile(x.double())
    with pytest.raises(regraft.InvalidArgumentError, match="want at least 1 run, have 0"):
        engine.profile(x, runs=0)
    with pytest.raises(TypeError, match="runs: want an int, have float"):
        engine.profile(x, runs=1.5)  # type: ignore[arg-type]
    stripped = regraft.compile(model, (x,), strip_engine_weights=True)
    with pytest.raises(regraft.StateError, match="no weights"):
        stripped.profile(x)
