"""LoRA hot-swap: a Stable Diffusion pipeline whose UNet is an engine.

    python examples/lora_hot_swap.py --steps 10 --width 32

Adapters are loaded, mixed, fused and unloaded with the calls of diffusers, while the engine is
compiled once. Every image is compared with that of a pipeline in plain PyTorch. The pipeline has
the classes and code paths of Stable Diffusion, at reduced widths and with random weights.
"""

from __future__ import annotations

import argparse
import copy
import gc
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import regraft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import stable_diffusion

PROMPT = "a fog"
# Adapter -> rank, and the layers of the UNet that it changes.
ADAPTERS = {
    "watercolour": (4, ("to_q", "to_k", "to_v", "to_out.0")),
    "etching": (8, ("to_q", "conv1", "proj_in")),
}


@dataclass(frozen=True)
class Swap:
    """What one change of adapters did.

    Attributes:
        title: The calls.
        image: f32[1,3,H,W] from the pipeline with the engine.
        error: Relative L2 error of the image to that of the pipeline in PyTorch.
        parameters: How many the engine's refit changed; 0 where there was none.
        swap_ms: By how much the change made the next image take longer.
        refit_ms: Of these, in the refit itself.
        compilations: How often the UNet had been compiled by then.
    """

    title: str
    image: Tensor
    error: float
    parameters: int
    swap_ms: float
    refit_ms: float
    compilations: int


def write_adapters(unet: UNet2DConditionModel, folder: Path) -> None:
    """Writes every adapter as diffusers does: <folder>/<name>/pytorch_lora_weights.safetensors."""
    for name, (rank, parts) in ADAPTERS.items():
        layers: dict[str, Tensor] = {}
        for path, module in unet.named_modules():
            if not path.endswith(parts):
                continue
            weight = module.weight
            layers[f"{path}.lora_A.weight"] = 0.1 * torch.randn(rank, *weight.shape[1:])
            ones = [1] * (weight.ndim - 2)
            layers[f"{path}.lora_B.weight"] = 0.1 * torch.randn(weight.shape[0], rank, *ones)
        StableDiffusionPipeline.save_lora_weights(folder / name, unet_lora_layers=layers)


def changes(folder: Path) -> dict[str, Callable[[StableDiffusionPipeline], None]]:
    """What is done to a pipeline, one after the other."""

    def load(name: str) -> Callable[[StableDiffusionPipeline], None]:
        return lambda pipe: pipe.load_lora_weights(folder / name, adapter_name=name)

    def use(names: list[str], scales: list[float]) -> Callable[[StableDiffusionPipeline], None]:
        return lambda pipe: pipe.set_adapters(names, scales)

    def fuse_and_unload(pipe: StableDiffusionPipeline) -> None:
        pipe.load_lora_weights(folder / "etching", adapter_name="etching")
        pipe.fuse_lora(lora_scale=0.7)
        pipe.unload_lora_weights()

    return {
        "base": lambda pipe: None,
        "load watercolour": load("watercolour"),
        "load etching": load("etching"),
        "both, 0.6 and 0.4": use(["watercolour", "etching"], [0.6, 0.4]),
        "watercolour only": use(["watercolour"], [1.0]),
        "unload": lambda pipe: pipe.unload_lora_weights(),
        "load, fuse, unload": fuse_and_unload,
    }


def draw(pipeline: StableDiffusionPipeline, steps: int) -> Tensor:
    """The image of the prompt, f32[1,3,H,W] in [0,1]."""
    images: Tensor = pipeline(
        PROMPT,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    return images


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What the call returns, and the milliseconds it takes."""
    start = time.perf_counter()
    result = call()
    return result, 1e3 * (time.perf_counter() - start)


def swap(
    title: str,
    change: Callable[[StableDiffusionPipeline], None],
    fast: StableDiffusionPipeline,
    plain: StableDiffusionPipeline,
    steps: int,
) -> Swap:
    """Changes both pipelines and draws with both."""
    before = fast.unet.last_refit
    change(fast)
    change(plain)
    gc.collect()  # Python's collector shall not run within what is timed.
    image, first = timed(lambda: draw(fast, steps))  # Sees the change, and refits.
    usual = min(timed(lambda: draw(fast, steps))[1] for _ in range(2))
    want = draw(plain, steps)
    report = fast.unet.last_refit
    refitted = report is not before
    return Swap(
        title,
        image,
        float((image - want).norm() / want.norm()),
        len(report.parameters) if refitted else 0,
        first - usual,
        report.total_ms if refitted else 0.0,
        fast.unet.compilations,
    )


def main(arguments: Sequence[str] | None = None) -> list[Swap]:
    """Prints a table with a row per change of adapters; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10, help="of the scheduler, per image")
    parser.add_argument("--width", type=int, default=32, help="channels of the outermost blocks")
    options = parser.parse_args(arguments)

    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", module="peft")  # That a second adapter is loaded.
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fast = stable_diffusion.pipeline(folder, width=options.width)
        write_adapters(fast.unet, folder)
        plain = copy.deepcopy(fast)
        fast.unet = regraft.MutableModule(fast.unet)
        rows = [
            swap(title, change, fast, plain, options.steps)
            for title, change in track(changes(folder).items(), "Images", transient=True)
        ]

    table = Table(title="Adapters on one engine; errors of images to PyTorch")
    for column in ("change", "refitted", "swap, ms", "refit, ms", "compiled", "error"):
        table.add_column(column, justify="left" if column == "change" else "right")
    for row in rows:
        # The first run also compiles, which is no swap.
        times = (f"{row.swap_ms:.1f}", f"{row.refit_ms:.1f}") if row.parameters else ("-", "-")
        table.add_row(
            row.title, str(row.parameters), *times, str(row.compilations), f"{row.error:.1e}"
        )
    Console().print(table)
    return rows


if __name__ == "__main__":
    main()
