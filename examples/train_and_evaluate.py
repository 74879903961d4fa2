"""torch.compile in a training loop: steps in PyTorch, evaluation in an engine that keeps up.

    python examples/train_and_evaluate.py --epochs 8 --output curve.png

The optimizer writes to the module that `torch.compile(model, backend="regraft")` compiled. Every
evaluation sees the weights and batch-norm statistics of that moment: they are refitted, nothing is
compiled again. The network learns to tell from which photograph a small patch was cut.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import pretrained

PHOTOS = ("brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png")
PATCH = 24


@dataclass(frozen=True)
class Epoch:
    """One pass over the training patches, and the evaluation after it.

    Attributes:
        loss: Mean over the training steps; NaN before the first.
        accuracy: Of the engine on patches that were not trained on.
        eager_accuracy: The same in PyTorch.
        error: Relative L2 error of the engine's logits to PyTorch's.
        engine_ms, eager_ms: Of the evaluation, refit included.
        graphs: How many torch.compile had compiled by then.
    """

    loss: float
    accuracy: float
    eager_accuracy: float
    error: float
    engine_ms: float
    eager_ms: float
    graphs: int


class PatchNet(nn.Module):
    """Which photograph a patch f32[N,3,24,24] is from: logits f32[N,5]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out)]
            layers.append(nn.ReLU())
            channels = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, len(PHOTOS))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def patches(count: int, *, train: bool) -> tuple[Tensor, Tensor]:
    """f32[N,3,24,24] of mean 0, and i64[N]; N = `count` per photograph. Patches for training are
    from the left two thirds of a photograph, the others from the rest."""
    images, labels = [], []
    generator = np.random.default_rng(int(train))
    for label, name in enumerate(PHOTOS):
        photo = pretrained.photo(name)
        pixels = np.asarray(photo.resize((photo.width // 2, photo.height // 2)), np.float32)
        edge = pixels.shape[1] * 2 // 3
        low, high = (0, edge - PATCH) if train else (edge, pixels.shape[1] - PATCH)
        for _ in range(count):
            x, y = generator.integers(low, high), generator.integers(0, len(pixels) - PATCH)
            patch = pixels[y : y + PATCH, x : x + PATCH]
            # Colour and brightness alone must not tell.
            patch = (patch - patch.mean((0, 1))) / (patch.std() + 1)
            images.append(torch.from_numpy(patch).permute(2, 0, 1))
            labels.append(label)
    return torch.stack(images), torch.tensor(labels)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int
) -> float:
    """One epoch in plain PyTorch; returns the mean loss."""
    model.train()
    losses = []
    for at in torch.randperm(len(images)).split(batch):
        loss = functional.cross_entropy(model(images[at]), labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def timed(model: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    """Logits, and the milliseconds they took."""
    start = time.perf_counter()
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits, 1e3 * (time.perf_counter() - start)


def run(epochs: int, width: int, count: int, batch: int) -> list[Epoch]:
    """Trains, and evaluates before the first epoch and after each."""
    torch.manual_seed(0)
    train_images, train_labels = patches(count, train=True)
    images, labels = patches(max(8, count // 4), train=False)
    model = PatchNet(width)
    compiled = torch.compile(model, backend="regraft")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    graphs_before = counters["stats"]["unique_graphs"]
    results = []
    for epoch in track(range(epochs + 1), "Epochs", transient=True):
        loss = train(model, optimizer, train_images, train_labels, batch) if epoch else float("nan")
        model.eval()
        want, eager_ms = timed(model, images)
        # PyTorch itself now refuses to compile a second time.
        with torch.compiler.set_stance("fail_on_recompile" if epoch else "default"):
            logits, engine_ms = timed(compiled, images)
        results.append(
            Epoch(
                loss,
                float((logits.argmax(1) == labels).float().mean()),
                float((want.argmax(1) == labels).float().mean()),
                float((logits - want).norm() / want.norm()),
                engine_ms,
                eager_ms,
                counters["stats"]["unique_graphs"] - graphs_before,
            )
        )
    return results


def draw(results: Sequence[Epoch], path: Path) -> None:
    """Writes the curves of loss and accuracy."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.plot([epoch.loss for epoch in results])
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot([epoch.accuracy for epoch in results], label="engine")
    right.plot([epoch.eager_accuracy for epoch in results], "--", label="PyTorch")
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> list[Epoch]:
    """Prints a row per epoch; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="channels of the first layer")
    parser.add_argument("--patches", type=int, default=200, help="for training, per photograph")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--output", type=Path, help="a picture of the curves")
    options = parser.parse_args(arguments)
    results = run(options.epochs, options.width, options.patches, options.batch)

    table = Table(title="Evaluation after every epoch")
    for column in ("epoch", "loss", "accuracy", "PyTorch", "error", "ms", "PyTorch ms", "graphs"):
        table.add_column(column, justify="right")
    for number, epoch in enumerate(results):
        table.add_row(
            str(number),
            f"{epoch.loss:.3f}",
            f"{epoch.accuracy:.1%}",
            f"{epoch.eager_accuracy:.1%}",
            f"{epoch.error:.0e}",
            f"{epoch.engine_ms:.1f}",
            f"{epoch.eager_ms:.1f}",
            str(epoch.graphs),
        )
    Console().print(table)
    if options.output:
        draw(results, options.output)
    return results


if __name__ == "__main__":
    main()
