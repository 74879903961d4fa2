"""The examples do what their first lines say, at sizes that take seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.progress import Progress

import ab_test
import lora_hot_swap
import peft_fine_tuning
import refit_tutorial
import regraft
import stripped_engine
import super_resolution
import train_and_evaluate

MAINS = [
    ab_test.main,
    lora_hot_swap.main,
    peft_fine_tuning.main,
    refit_tutorial.main,
    stripped_engine.main,
    super_resolution.main,
    train_and_evaluate.main,
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow on busy machines, and gain nothing here."""
    before = regraft.thread_count()
    torch.set_num_threads(1)
    regraft.set_thread_count(1)
    yield
    regraft.set_thread_count(before)


@pytest.mark.parametrize("main", MAINS, ids=lambda main: main.__module__)
def test_help(main: Callable[[Sequence[str]], Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "python examples/" in capsys.readouterr().out


def test_lora_hot_swap() -> None:
    swaps = {swap.title: swap for swap in lora_hot_swap.main(["--steps", "2", "--width", "8"])}
    assert [swap.compilations for swap in swaps.values()] == [1] * 7
    assert max(swap.error for swap in swaps.values()) < 1e-5
    base = swaps["base"]
    assert base.parameters == 0
    assert torch.equal(swaps["unload"].image, base.image)
    for title, swap in swaps.items():
        if title not in ("base", "unload"):
            assert swap.parameters > 0
            assert (swap.image - base.image).abs().max() > 1e-3
    assert torch.equal(swaps["watercolour only"].image, swaps["load watercolour"].image)


def test_ab_test() -> None:
    results = ab_test.main(["--requests", "16"])
    heavy, light = results.arms["heavy"], results.arms["light"]
    for arm in (heavy, light):
        assert arm.error < 1e-5
        assert min(arm.asked["heavy"], arm.asked["light"]) >= 30
    assert min(heavy.share("heavy"), light.share("light")) > 0.7
    assert max(heavy.share("light"), light.share("heavy")) < 0.3
    assert results.promoted_equal
    assert results.restored_equal
    # Two of the model's 57 constants: the last linear and its bias.
    assert 0 < results.head_bytes < 0.05 * light.own_bytes


def test_stripped_engine() -> None:
    results = stripped_engine.main(["--size", "128"])
    engine, *checkpoints = results.sizes.values()
    assert engine < 32_000
    assert min(checkpoints) > 2_000_000
    assert "no weights" in results.refusal
    assert results.psnr["jpeg.safetensors"] > results.psnr["clean.safetensors"] + 0.2
    photo = stripped_engine.pretrained.photo("chelsea.png").crop((100, 40, 228, 168))
    pixels = stripped_engine.input_of(photo)
    for name, level in stripped_engine.CHECKPOINTS.items():
        model = stripped_engine.pretrained.upconv7()
        model.load_state_dict(stripped_engine.pretrained.upconv7_weights(level))
        want = stripped_engine.pretrained.to_image(model(pixels))
        assert stripped_engine.pretrained.psnr(results.images[name], want) > 60


def test_a_damaged_download_is_refused(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    stripped_engine.publish(there, 16)
    with (there / "jpeg.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with stripped_engine.serving(there) as store, Progress(disable=True) as progress:
        engine = regraft.load(stripped_engine.fetch(store, stripped_engine.ENGINE, here, progress))
        engine.refit(str(stripped_engine.fetch(store, "clean.safetensors", here, progress)))
        with pytest.raises(ValueError, match=r"jpeg\.safetensors: want sha256"):
            stripped_engine.fetch(store, "jpeg.safetensors", here, progress)
    assert sorted(path.name for path in here.iterdir()) == ["clean.safetensors", "upscaler.rgf"]


def test_train_and_evaluate(tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    flags = ["--epochs", "3", "--width", "8", "--patches", "60", "--output", str(picture)]
    epochs = train_and_evaluate.main(flags)
    assert [epoch.graphs for epoch in epochs] == [1] * 4
    assert max(epoch.error for epoch in epochs) < 1e-5
    assert all(epoch.accuracy == epoch.eager_accuracy for epoch in epochs)
    assert math.isnan(epochs[0].loss)
    assert epochs[-1].loss < epochs[1].loss
    assert epochs[-1].accuracy > 0.5 > epochs[0].accuracy
    assert picture.stat().st_size > 1000


def test_peft_fine_tuning() -> None:
    results = peft_fine_tuning.main(["--steps", "8", "--every", "8"])
    first, *steps = results.steps
    assert first.parameters == 0, "adapters start as no change"
    for number, step in enumerate(steps, 1):
        assert step.parameters == 16, "the four targets of four layers"
        assert step.generation == first.generation + number
    assert max(step.error for step in results.steps) < 1e-5
    assert all(step.same_text for step in results.steps)
    assert first.recovered < 0.3
    assert steps[-1].recovered > 0.5
    assert steps[-1].written[:5] == results.truth[:5] != first.written[:5]
    assert results.base_restored


def test_super_resolution(tmp_path: Path) -> None:
    picture = tmp_path / "eye.png"
    measured = super_resolution.main(["--output", str(picture)])
    # dB of docs/super_resolution.md: clean input, JPEG 40 and JPEG 20.
    want = {"none": [32.98, 28.09, 26.83], "3": [31.39, 28.77, 27.44]}
    for level, row in want.items():
        assert measured[level] == pytest.approx(row, abs=0.02)
    assert picture.stat().st_size > 1000
