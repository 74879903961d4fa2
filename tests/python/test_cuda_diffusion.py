"""Stable Diffusion's networks on a GPU, and their plans, for which no GPU is needed."""

from __future__ import annotations

import collections
import copy
import re
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import regraft
import support
from models.weights import randomise

pytest.importorskip("diffusers", reason="needs diffusers")
from models import stable_diffusion


def _denoiser(seed: int, width: int = 64) -> stable_diffusion.Denoiser:
    # Whole vectors of channels, groups that are none.
    unet = stable_diffusion.unet(width)
    randomise(unet, seed)
    return stable_diffusion.Denoiser(unet).eval().requires_grad_(False)


def _decoder(seed: int) -> stable_diffusion.Decoder:
    decoder = stable_diffusion.Decoder(width=64, sample_size=16)
    randomise(decoder, seed)
    return decoder.eval().requires_grad_(False)


def _case(name: str, seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    if name == "unet":
        denoiser = _denoiser(seed)
        return denoiser, stable_diffusion.call(denoiser.unet)
    generator = torch.Generator().manual_seed(3)
    return _decoder(seed), (torch.randn(2, 4, 8, 8, generator=generator),)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("name", ["unet", "vae_decoder"])
def test_networks(name: str, precision: str) -> None:
    model, inputs = _case(name, 0)
    other, _ = _case(name, 1)
    given = tuple(x.cuda() for x in inputs)
    engine = regraft.compile(model, inputs, backend="cuda", precision=precision)
    gate = "f32" if precision == "f32" else "bf16"
    for network in (model, other, model):
        want = support.truth(copy.deepcopy(network), inputs)
        engine.refit(network.state_dict())
        for _ in range(3):
            support.check_outputs(gate, [engine(*given).cpu()], want)


def _plan_of(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path, command: Path) -> str:
    """The plan that the command line makes for GPUs."""
    with torch.no_grad():
        program = torch.export.export(model, inputs)
    torch.export.save(program, folder / "m.pt2")
    options = ["--backend", "cuda", "--precision", "bf16", "--stop-after", "compile"]
    subprocess.run([command, "compile", "m.pt2", *options, "--dump", "out"], cwd=folder, check=True)
    (plan,) = (folder / "out").glob("*-compile.txt")
    return plan.read_text(encoding="utf-8")


_STEP = re.compile(r"= cuda\.(\w+)\(([^)]*)\)(?: \{(.*)\})?")


def _check_plan(plan: str, resnets: int, transformers: int) -> None:
    """What can be one kernel is one: norms have their activations, products their summands and
    gates, and what reads one value is one product."""
    steps = [
        m.groups() for m in map(_STEP.search, plan.split("compute steps:")[1].splitlines()) if m
    ]
    count = collections.Counter(kernel for kernel, _, _ in steps)
    programs = collections.Counter(
        re.search(r'program="([^"]*)"', rest or "")[1]  # type: ignore[index]
        for kernel, _, rest in steps
        if kernel == "pointwise"
    )
    norms = [rest for kernel, _, rest in steps if kernel == "group_norm"]
    # Two of a block and the last have an activation, those of transformers none.
    assert sum('epilogue="silu"' in rest for rest in norms) == 2 * resnets + 1
    assert len(norms) == 2 * resnets + 1 + transformers
    assert count["scaled_dot_product_attention"] == 2 * transformers
    assert programs["gelu i0; mul i1 r0 -> r1"] == transformers
    # All projections of the time are one product, and so are those of the text.
    assert programs["add i0 i1 -> r0"] == resnets
    assert count["linear"] == 6 * transformers + 4
    assert not any(program.startswith("silu") for program in programs), programs
    assert count["copy"] == 0


def test_plan_of_the_unet(tmp_path: Path, command_line: Path) -> None:
    denoiser = _denoiser(0, 32)
    plan = _plan_of(denoiser, stable_diffusion.call(denoiser.unet), tmp_path, command_line)
    _check_plan(plan, resnets=8, transformers=4)


@pytest.mark.slow
def test_plan_of_the_published_unet(tmp_path: Path, command_line: Path) -> None:
    with torch.device("meta"):
        unet = stable_diffusion.unet_published().bfloat16()
    denoiser = stable_diffusion.Denoiser(unet.to_empty(device="cpu")).eval()
    inputs = tuple(
        x.bfloat16() if x.is_floating_point() else x for x in stable_diffusion.call(unet, words=77)
    )
    _check_plan(_plan_of(denoiser, inputs, tmp_path, command_line), resnets=22, transformers=16)
