"""The models that engines are tested on: `build` makes one, `example_inputs` feeds it.

model = zoo.build("tiny_resnet18", seed=1)
outputs = zoo.run(model, zoo.example_inputs("tiny_resnet18", batch=3))
"""

from __future__ import annotations

import hashlib
import inspect
import os
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from models import text, vision
from models.weights import calibrate, randomise

DIALECTS = ("raw", "functional", "core")
MAX_BATCH = 64
CACHE = Path(__file__).resolve().parents[2] / "build/models"


def names(*, tiny: bool | None = None) -> list[str]:
    """Names of all models, of the tiny ones (tiny=True) or of the published sizes (tiny=False)."""
    full, small = [*vision.FULL, *text.FULL], [*vision.TINY, *text.TINY]
    return full + small if tiny is None else small if tiny else full


def is_text(name: str) -> bool:
    return name in text.FULL or name in text.TINY


def build(name: str, seed: int = 0) -> nn.Module:
    """The model in evaluation mode, f32, with the random weights of `seed`."""
    makers = {**vision.FULL, **vision.TINY, **text.FULL, **text.TINY}
    if name not in makers:
        raise ValueError(f"no model {name}; have {', '.join(makers)}")
    model: nn.Module = makers[name]()
    randomise(model, seed)
    if not is_text(name):
        calibrate(model, _images(8, vision.TINY_SIZE if name in vision.TINY else 96, seed), seed)
    return model.eval().requires_grad_(False)


def example_inputs(
    name: str, batch: int = 2, *, seed: int = 0, sequence: int | None = None
) -> tuple[Tensor, ...]:
    """Random inputs.

    Vision: images f32[batch, 3, size, size]. Text: ids i64[batch, sequence] and, where the model
    takes it, a mask i64[batch, sequence] that pads every second row at its end.
    """
    if not is_text(name):
        return (_images(batch, vision.TINY_SIZE if name in vision.TINY else 224, seed),)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + len(name.removesuffix("_eager")))
    tiny = name in text.TINY
    sequence = sequence or (12 if tiny else 128)
    # 100 is below every vocabulary's size and above BERT's special tokens of none.
    ids = torch.randint(1, 100 if tiny else 30000, (batch, sequence), generator=generator)
    if not _takes_mask(name):
        return (ids,)
    mask = torch.ones_like(ids)
    mask[1::2, sequence - sequence // 3 :] = 0
    return ids, mask


def dynamic_shapes(name: str) -> dict[str, dict[int, Any]]:
    """The `dynamic_shapes` of torch.export: the batch is free, and for text the sequence."""
    batch = Dim("batch", min=1, max=MAX_BATCH)
    if not is_text(name):
        return {"x": {0: batch}}
    sequence = Dim("sequence", min=2, max=64 if name in text.TINY else 512)
    shape = {0: batch, 1: sequence}
    return {"input_ids": shape, **({"attention_mask": shape} if _takes_mask(name) else {})}


def export(
    name: str, dialect: str = "raw", *, dynamic: bool = False, seed: int = 0, batch: int = 2
) -> ExportedProgram:
    """Exports the model: raw (torch.export.export), functional (run_decompositions({})) or core
    ATen (run_decompositions())."""
    if dialect not in DIALECTS:
        raise ValueError(f"no dialect {dialect}; have {', '.join(DIALECTS)}")
    # A dimension of 1 would be taken for a constant.
    inputs = example_inputs(name, max(batch, 2) if dynamic else batch)
    shapes = dynamic_shapes(name) if dynamic else None
    return export_model(build(name, seed), inputs, dialect, shapes)


def program(name: str, dialect: str, *, dynamic: bool = True) -> ExportedProgram:
    """Like `export`, but kept in build/models: exporting takes several times as long as loading."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    versions = (torch.__version__, torchvision.__version__, transformers.__version__)
    key = hashlib.sha256(b"".join(f.read_bytes() for f in sources) + repr(versions).encode())
    kind = "dynamic" if dynamic else "static"
    path = CACHE / f"{name}.{dialect}.{kind}.{key.hexdigest()[:16]}.pt2"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Two processes may do this at once; each moves a whole file into place.
        unfinished = path.with_suffix(f".{os.getpid()}.pt2")
        torch.export.save(export(name, dialect, dynamic=dynamic), unfinished)
        unfinished.replace(path)
    return torch.export.load(path)


def export_model(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    dialect: str = "raw",
    shapes: dict[str, dict[int, Any]] | None = None,
) -> ExportedProgram:
    """Like `export`, for any model. `shapes` names arguments of its forward."""
    with torch.no_grad():
        try:
            program = torch.export.export(model, inputs, dynamic_shapes=shapes)
        except torch._dynamo.exc.UserError:
            # torch 2.11 cannot prove that min(8 * s, 16 * s) is 8 * s, which Llama asks for.
            program = torch.export.export(
                model,
                inputs,
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        if dialect == "functional":
            return program.run_decompositions({})
        return _to_core(program) if dialect == "core" else program


def _to_core(program: ExportedProgram) -> ExportedProgram:
    # PyTorch's decomposition for its flash kernel takes a view that the layout of GPT-2 does not
    # have; the one for its math kernel gives matmuls and a softmax.
    try:
        return program.run_decompositions()
    except ValueError:
        with sdpa_kernel(SDPBackend.MATH):
            return program.run_decompositions()


def run(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Eager outputs as a flat tuple."""
    with torch.no_grad():
        outputs = model(*inputs)
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _images(batch: int, size: int, seed: int) -> Tensor:
    """Blobs of colour with noise; each image has a tint and a contrast of its own. Plain noise
    looks the same to a network that averages over the image."""
    g = torch.Generator().manual_seed(1_000_003 * seed + size)
    blobs = torch.randn(batch, 3, 6, 6, generator=g)
    blobs = functional.interpolate(blobs, (size, size), mode="bilinear", align_corners=False)
    contrast = 0.5 + torch.rand(batch, 1, 1, 1, generator=g)
    tint = 0.5 * torch.randn(batch, 3, 1, 1, generator=g)
    return contrast * blobs + tint + 0.3 * torch.randn(batch, 3, size, size, generator=g)


def _takes_mask(name: str) -> bool:
    maker = {**text.FULL, **text.TINY}[name]
    model = maker.args[0]  # type: ignore[attr-defined]
    return "attention_mask" in inspect.signature(model.forward).parameters
