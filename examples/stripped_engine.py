"""A plan of kilobytes, weights from elsewhere: a stripped engine and a store of checkpoints.

    python examples/stripped_engine.py --photo coffee.png

A web server on this machine stands for the store. The client has no code of the network: it fetches
the engine and two checkpoints, checks their digests, and refits. The network doubles an image's
resolution; one checkpoint is for clean images, the other also removes the noise of JPEG.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor

import regraft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import pretrained

ENGINE = "upscaler.rgf"
CHECKPOINTS = {"clean.safetensors": "none", "jpeg.safetensors": "3"}


@dataclass(frozen=True)
class Results:
    """What the client saw.

    Attributes:
        sizes: Bytes of each file of the store.
        refusal: What the engine answered before it had weights.
        psnr: Checkpoint -> dB to the original, of a photograph that JPEG compressed.
        images: Checkpoint -> the upscaled photograph.
        refit_ms: Checkpoint -> milliseconds from the file to answers with its weights.
    """

    sizes: dict[str, int]
    refusal: str
    psnr: dict[str, float]
    images: dict[str, Image.Image]
    refit_ms: dict[str, float]


# ---- the store ----


def publish(folder: Path, side: int) -> None:
    """Puts the engine, the checkpoints and the digests of all into the store's folder."""
    model = pretrained.upconv7()
    example = pretrained.upscaler_input(Image.new("RGB", (side, side)))
    engine = regraft.compile(model, (example,))
    engine.save(folder / ENGINE, strip_weights=True)
    for name, level in CHECKPOINTS.items():
        save_file(pretrained.upconv7_weights(level), folder / name)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }
    (folder / "index.json").write_text(json.dumps(digests))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of the folder, for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---- the client ----


def fetch(store: str, name: str, to: Path, progress: Progress) -> Path:
    """Downloads a file and checks it against the store's index; leaves nothing behind that does
    not have the digest.

    Raises:
        ValueError: The digest is another one.
    """
    with urllib.request.urlopen(f"{store}/index.json") as reply:
        want = json.load(reply)[name]
    path, part, digest = to / name, to / f"{name}.part", hashlib.sha256()
    with urllib.request.urlopen(f"{store}/{name}") as reply, part.open("wb") as file:
        bar = progress.add_task(name, total=int(reply.headers["Content-Length"]))
        while block := reply.read(1 << 16):
            file.write(block)
            digest.update(block)
            progress.advance(bar, len(block))
    if digest.hexdigest() != want:
        part.unlink()
        raise ValueError(f"{name}: want sha256 {want}, have {digest.hexdigest()}")
    return part.rename(path)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """The image as JPEG of this quality shows it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def input_of(original: Image.Image) -> Tensor:
    """What is upscaled: half the original, as JPEG of a low quality shows it."""
    half = (original.width // 2, original.height // 2)
    small = original.resize(half, Image.Resampling.BOX)
    return pretrained.upscaler_input(compressed(small, 20))


def client(store: str, folder: Path, original: Image.Image, progress: Progress) -> Results:
    """Fetches the engine, then one checkpoint after the other, and upscales with each."""
    pixels = input_of(original)
    files = {ENGINE: fetch(store, ENGINE, folder, progress)}
    engine = regraft.load(files[ENGINE])
    try:
        engine(pixels)
    except regraft.StateError as error:
        refusal = str(error)
    else:
        raise AssertionError("an engine without weights answered")

    psnr, images, refit_ms = {}, {}, {}
    for name in CHECKPOINTS:
        files[name] = fetch(store, name, folder, progress)
        start = time.perf_counter()
        engine.refit(str(files[name]))
        refit_ms[name] = 1e3 * (time.perf_counter() - start)
        images[name] = pretrained.to_image(engine(pixels))
        psnr[name] = pretrained.psnr(images[name], original)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    return Results(sizes, refusal, psnr, images, refit_ms)


def main(arguments: Sequence[str] | None = None) -> Results:
    """Prints what was fetched and what came of it; returns it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", default="chelsea.png", help="a photograph of scikit-image")
    parser.add_argument("--size", type=int, default=256, help="height and width of the output")
    options = parser.parse_args(arguments)
    photo = pretrained.photo(options.photo)
    original = photo.crop((100, 40, 100 + options.size, 40 + options.size))

    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
        publish(Path(there), options.size // 2)
        with serving(Path(there)) as store, Progress(transient=True) as progress:
            results = client(store, Path(here), original, progress)

    print(f"without weights: {results.refusal}")
    table = Table("file", "kB", "refit, ms", "PSNR, dB")
    for name, size in results.sizes.items():
        is_engine = name == ENGINE
        refit = "" if is_engine else f"{results.refit_ms[name]:.1f}"
        psnr = "" if is_engine else f"{results.psnr[name]:.2f}"
        table.add_row(name, f"{size / 1e3:.0f}", refit, psnr)
    Console().print(table)
    return results


if __name__ == "__main__":
    main()
