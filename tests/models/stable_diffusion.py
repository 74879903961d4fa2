"""Pipelines of diffusers, of reduced widths and random weights: the real ones' classes and code.

Their text encoders, VAE and schedulers are small, too; the tokenizer has a vocabulary of letters.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from models.weights import randomise

_LENGTH = 12  # Tokens of a prompt.
_TEXT_WIDTH = 16


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer that knows letters, and words of one or two of them."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [
        *letters,
        *(f"{c}</w>" for c in letters),
        "an</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\na n</w>\n", encoding="utf-8")
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=_LENGTH)
    return loaded


def unet(width: int = 8) -> UNet2DConditionModel:
    """Stable Diffusion's UNet: cross attention on one of two levels, convolution projections;
    `width` channels instead of 320."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(width, 2 * width),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def unet_published() -> UNet2DConditionModel:
    """Stable Diffusion 1.5's UNet at its size: 860 million parameters."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,
    )


class Denoiser(nn.Module):
    """One step of a UNet, with the tensors of a call by position."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        out: Tensor = self.unet(sample, timestep, text, return_dict=False)[0]
        return out


class Decoder(nn.Module):
    """The part of a VAE that makes images: latents in, pixels out."""

    def __init__(self, width: int = 128, sample_size: int = 512) -> None:
        super().__init__()
        levels = 4 if sample_size >= 256 else 2
        self.vae = AutoencoderKL(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width)[:levels],
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=2,
            latent_channels=4,
            sample_size=sample_size,
        )
        del self.vae.encoder, self.vae.quant_conv

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return out


def call(unet: UNet2DConditionModel, batch: int = 2, words: int = 7) -> tuple[Tensor, ...]:
    """Example inputs of a ``Denoiser``."""
    generator = torch.Generator().manual_seed(3)
    size, config = unet.config.sample_size, unet.config
    sample = torch.randn(batch, config.in_channels, size, size, generator=generator)
    text = torch.randn(batch, words, config.cross_attention_dim, generator=generator)
    return sample, torch.tensor(401), text


def unet_xl() -> UNet2DConditionModel:
    """SDXL's UNet: sizes and pooled text beside the time, blocks of unequal depth, linear
    projections."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2],
        use_linear_projection=True,
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=[2, 4],
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 10,
    )


def inputs_xl(seed: int = 1) -> dict[str, object]:
    """The call of SDXL's UNet, by keyword."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "sample": random(2, 4, 8, 8),
        "timestep": torch.tensor(401),
        "encoder_hidden_states": random(2, 5, _TEXT_WIDTH),
        "added_cond_kwargs": {
            "text_embeds": random(2, 10),
            "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]] * 2, dtype=torch.float32),
        },
        "return_dict": False,
    }


def pipeline(folder: Path, seed: int = 0, width: int = 8) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline in evaluation mode; `folder` is for the tokenizer's files,
    `width` for the UNet."""
    words = tokenizer(folder)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=_LENGTH,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    parts = {"unet": unet(width), "vae": vae, "text_encoder": text_encoder}
    for part in parts.values():
        randomise(part, seed)
        part.eval().requires_grad_(False)
    made = StableDiffusionPipeline(
        **parts,
        tokenizer=words,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made
