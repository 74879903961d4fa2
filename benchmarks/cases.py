"""What the GPU benchmark runs: models of the zoo, and the networks of Stable Diffusion 1.5 at their
size, for images of 512 x 512 pixels and texts of 77 words (these need diffusers)."""

from __future__ import annotations

import bench  # noqa: F401  (puts the zoo on the path)
import torch
from torch import Tensor, nn

from models import zoo
from models.weights import randomise

UNET, DECODER = "sd15_unet", "sd15_decoder"
_SEQUENCE = {"gpt2": 256}


def is_diffusion(name: str) -> bool:
    return name in (UNET, DECODER)


def is_text(name: str) -> bool:
    return not is_diffusion(name) and zoo.is_text(name)


def build(name: str, seed: int) -> nn.Module:
    """The model in evaluation mode, f32, with the random weights of `seed`."""
    if not is_diffusion(name):
        return zoo.build(name, seed)
    from models import stable_diffusion as diffusion

    with torch.device("meta"):
        empty = (
            diffusion.Denoiser(diffusion.unet_published()) if name == UNET else diffusion.Decoder()
        )
    model: nn.Module = empty.to_empty(device="cpu")
    randomise(model, seed)
    return model.eval().requires_grad_(False)


def example_inputs(name: str, batch: int) -> tuple[Tensor, ...]:
    if not is_diffusion(name):
        return zoo.example_inputs(name, batch, seed=3, sequence=_SEQUENCE.get(name))
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(batch, 4, 64, 64, generator=generator)
    if name == DECODER:
        return (latents,)
    return latents, torch.tensor(401), torch.randn(batch, 77, 768, generator=generator)


def batches(name: str) -> tuple[int, ...]:
    """A denoising step has each image twice, with its text and without."""
    return {UNET: (2, 8), DECODER: (1,)}.get(name, (1, 32))
