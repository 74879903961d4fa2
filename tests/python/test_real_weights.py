"""Random networks refitted with trained weights name, sharpen and recover what a fresh build does.

Each is checked through Python and through the command line, in f32 and bf16.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import regraft
import support
from models import pretrained

PRECISIONS = ["f32", "bf16"]
Refitted = Callable[[nn.Module, Tensor, dict[str, Tensor], Tensor], Tensor]


def _by_python(precision: str) -> Refitted:
    def run(model: nn.Module, example: Tensor, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        engine = regraft.compile(model, (example,), backend="cpu", precision=precision)
        engine.refit(weights)
        (out,) = support.flat(engine(x))
        return out

    return run


def _by_cli(precision: str, folder: Path, cli: Path) -> Refitted:
    def call(*arguments: object) -> None:
        subprocess.run([cli, *map(str, arguments)], cwd=folder, check=True)

    def run(model: nn.Module, example: Tensor, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        torch.export.save(torch.export.export(model, (example,)), folder / "m.pt2")
        save_file({k: v.clone().contiguous() for k, v in weights.items()}, folder / "w.safetensors")
        np.save(folder / "x.npy", x.numpy())
        call("compile", "m.pt2", "-o", "m.rgf", "--backend", "cpu", "--precision", precision)
        call("refit", "m.rgf", "--weights", "w.safetensors", "-o", "new.rgf")
        call("run", "new.rgf", "--input", "x.npy", "--output", "y.npy")
        return torch.from_numpy(np.load(folder / "y.npy"))

    return run


@pytest.fixture(params=["python", "cli"])
def refitted(
    request: pytest.FixtureRequest, tmp_path: Path, command_line: Path, precision: str
) -> Refitted:
    return (
        _by_python(precision)
        if request.param == "python"
        else _by_cli(precision, tmp_path, command_line)
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_classifier_names_the_photograph(refitted: Refitted) -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES as LABELS

    model = pretrained.efficientnet_lite0()
    weights = pretrained.efficientnet_lite0_weights()
    coffee = pretrained.classifier_input(pretrained.photo("coffee.png"))
    cat = pretrained.classifier_input(pretrained.photo("chelsea.png"))
    scores = refitted(model, coffee, weights, coffee).softmax(-1)[0]
    assert LABELS[int(scores.argmax())] == "espresso"
    assert scores.max() > 0.9
    scores = refitted(model, coffee, weights, cat).softmax(-1)[0]
    cats = sum(float(scores[LABELS.index(n)]) for n in ("tiger cat", "Egyptian cat", "tabby"))
    assert cats > 0.85
    model.load_state_dict(weights)
    assert support.relative_error(scores, model(cat).softmax(-1)[0]) < 0.05


@pytest.mark.parametrize("precision", PRECISIONS)
def test_upscaler_follows_its_weights(refitted: Refitted) -> None:
    original = pretrained.photo("chelsea.png").crop((100, 40, 356, 296))
    small = original.resize((128, 128), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=20)
    noisy = Image.open(buffer).convert("RGB")
    # dB that PyTorch reaches with each weight set; bf16 rounds pixels to 8 bits of mantissa.
    for image, level in ((small, "none"), (small, "3"), (noisy, "none"), (noisy, "3")):
        x = pretrained.upscaler_input(image)
        model, weights = pretrained.upconv7(), pretrained.upconv7_weights(level)
        out = refitted(model, x, weights, x)
        model.load_state_dict(weights)
        want = pretrained.psnr(pretrained.to_image(model(x)), original)
        have = pretrained.psnr(pretrained.to_image(out), original)
        assert abs(have - want) < 0.15, f"{level}: want {want:.2f} dB, have {have:.2f} dB"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_antibody_model_swaps_chains(refitted: Refitted) -> None:
    model = pretrained.antibody()
    model.load_state_dict(pretrained.antibody_weights("vh"))
    for chain in ("vl", "vh"):
        weights = pretrained.antibody_weights(chain)
        reference = pretrained.antibody()
        reference.load_state_dict(weights)
        for sequence, own in ((pretrained.HEAVY, "vh"), (pretrained.LIGHT, "vl")):
            rows, ids = pretrained.masked_inputs(sequence)
            count = pretrained.recovered(refitted(model, rows, weights, rows), rows, ids)
            want = pretrained.recovered(reference(rows), rows, ids)
            assert abs(count - want) <= 1, f"{chain} weights: want {want}, have {count}"
            share = count / len(sequence)
            assert share > 0.7 if own == chain else share < 0.3
