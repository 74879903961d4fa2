"""One super-resolution engine, refitted between its weight sets: prints the PSNR of each and draws
what the refit changes.

    python examples/super_resolution.py --output docs/images/super_resolution.png
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

import regraft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import pretrained

LEVELS = ("none", "0", "1", "2", "3")
# A detail around the cat's eye, in pixels of the output.
DETAIL = (40, 50, 168, 178)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """The image as JPEG of this quality shows it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def draw(panels: dict[str, Image.Image], path: Path) -> None:
    """Writes the images side by side, under their titles."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(3 * len(panels), 3.3))
    for axis, (title, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image.crop(DETAIL), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)


def main(arguments: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Prints the PSNR in dB by weights and input, and returns it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("super_resolution.png"))
    args = parser.parse_args(arguments)
    original = pretrained.photo("chelsea.png").crop((100, 40, 356, 296))
    small = original.resize((128, 128), Image.Resampling.BOX)
    inputs = {"clean": small, "JPEG 40": compressed(small, 40), "JPEG 20": compressed(small, 20)}

    model = pretrained.upconv7()
    model.load_state_dict(pretrained.upconv7_weights("none"))
    engine = regraft.compile(model, (pretrained.upscaler_input(small),))
    table = Table(title="PSNR to the original, dB")
    for column in ("weights", *inputs, "refit, ms"):
        table.add_column(column, justify="right")
    outputs: dict[str, Image.Image] = {}
    measured: dict[str, list[float]] = {}
    for level in LEVELS:
        report = engine.refit(pretrained.upconv7_weights(level))
        row = []
        for name, image in inputs.items():
            out = pretrained.to_image(engine(pretrained.upscaler_input(image)))
            row.append(pretrained.psnr(out, original))
            if name == "JPEG 20":
                outputs[level] = out
        measured[level] = row
        table.add_row(level, *(f"{value:.2f}" for value in row), f"{report.total_ms:.2f}")
    Console().print(table)
    enlarged = inputs["JPEG 20"].resize(original.size, Image.Resampling.NEAREST)
    draw(
        {
            "input (JPEG 20), enlarged": enlarged,
            "engine with weights 'none'": outputs["none"],
            "refitted to 'denoise 3'": outputs["3"],
            "original": original,
        },
        args.output,
    )
    return measured


if __name__ == "__main__":
    main()
