"""Fine-tuning with PEFT: training steps in PyTorch, evaluation and generation in the engine.

    python examples/peft_fine_tuning.py --steps 25 --rank 8

The base model is compiled once. After every optimizer step the engine takes the adapters as they
are then, in one refit of the layers they touch. A language model of antibodies' heavy chains learns
a light chain; it is asked to fill in residues of it, and to write a stretch of it anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional

import regraft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import pretrained

MASK = pretrained.TOKENS.index("<mask>")
TARGETS = ["q_proj", "v_proj", "fc1", "fc2"]
# The residues that are generated: the loop of the light chain that binds the antigen, and around.
STRETCH = slice(86, 102)


@dataclass(frozen=True)
class Step:
    """A training step and what the engine answered after it.

    Attributes:
        loss: Of the step, in PyTorch; NaN before the first.
        recovered: Of the light chain's residues, how many the engine fills in right.
        written: What the engine writes in place of the stretch; empty where it was not asked.
        same_text: Whether PyTorch writes the same.
        error: Relative L2 error of the engine's logits to PyTorch's.
        parameters: How many the refit changed.
        refit_ms: Milliseconds from the adapters in PyTorch to answers with them.
        generation: Of the engine's weights.
    """

    loss: float
    recovered: float
    written: str
    same_text: bool
    error: float
    parameters: int
    refit_ms: float
    generation: int


@dataclass(frozen=True)
class Results:
    """The steps, the stretch as it is in nature, and whether the engine without adapters gave the
    base model's bits in the end."""

    steps: list[Step]
    truth: str
    base_restored: bool


def base_model() -> torch.nn.Module:
    """The heavy chain's model."""
    model = pretrained.antibody()
    model.load_state_dict(pretrained.antibody_weights("vh"))
    return model


def train_step(model: PeftModel, optimizer: torch.optim.Optimizer, ids: Tensor) -> float:
    """One step on eight copies of the chain with 15 % of the residues masked; returns the loss."""
    rows = ids.repeat(8, 1)
    is_masked = torch.rand(rows.shape) < 0.15
    is_masked[:, [0, -1]] = False
    logits = model(rows.masked_fill(is_masked, MASK))
    loss = functional.cross_entropy(logits[is_masked], rows[is_masked])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def write(model: Callable[[Tensor], Tensor], ids: Tensor) -> str:
    """Masks the stretch and fills it in, the most certain residue first."""
    row = ids[None].clone()
    row[0, STRETCH] = MASK
    with torch.no_grad():
        while bool((row == MASK).any()):
            odds, best = model(row)[0, :, 4:24].softmax(-1).max(-1)
            at = int(odds.masked_fill(row[0] != MASK, -1).argmax())
            row[0, at] = best[at] + 4
    return text(row[0])


def text(ids: Tensor) -> str:
    """The residues of the stretch."""
    return "".join(pretrained.TOKENS[i] for i in ids[STRETCH].tolist())


def run(steps: int, rank: int, every: int) -> Results:
    """Fine-tunes; evaluates before the first step and after each, generates after some."""
    torch.manual_seed(0)
    rows, ids = pretrained.masked_inputs(pretrained.LIGHT)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
    model = get_peft_model(base_model(), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    # Any number of rows: the engine evaluates ten, and generates with one.
    batch = {0: torch.export.Dim("batch", max=64)}
    engine = regraft.compile(model, (rows,), dynamic_shapes=(batch,))

    results = []
    for number in track(range(steps + 1), "Steps", transient=True):
        loss = train_step(model, optimizer, ids) if number else float("nan")
        start = time.perf_counter()
        report = engine.lora.follow(regraft.lora.base_view(model))
        refit_ms = 1e3 * (time.perf_counter() - start)
        logits = engine(rows)
        with torch.no_grad():
            want = model(rows)
        texts = [write(m, ids) for m in (engine, model)] if number % every == 0 else ["", ""]
        results.append(
            Step(
                loss,
                pretrained.recovered(logits, rows, ids) / len(pretrained.LIGHT),
                texts[0],
                texts[0] == texts[1],
                float((logits - want).norm() / want.norm()),
                len(report.parameters),
                refit_ms,
                engine.generation,
            )
        )

    engine.lora.replace({})
    base = regraft.compile(base_model(), (rows,), dynamic_shapes=(batch,))
    return Results(results, text(ids), torch.equal(engine(rows), base(rows)))


def main(arguments: Sequence[str] | None = None) -> Results:
    """Prints a row per step; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--every", type=int, default=5, help="generate after so many steps")
    options = parser.parse_args(arguments)
    results = run(options.steps, options.rank, options.every)

    table = Table(title=f"In nature: {results.truth}")
    for column in ("step", "loss", "recovered", "written", "error", "refitted", "ms"):
        table.add_column(column, justify="right")
    for number, step in enumerate(results.steps):
        if step.written:
            table.add_row(
                str(number),
                f"{step.loss:.2f}",
                f"{step.recovered:.0%}",
                step.written,
                f"{step.error:.0e}",
                str(step.parameters),
                f"{step.refit_ms:.1f}",
            )
    Console().print(table)
    print(f"without adapters: the base model's bits, {results.base_restored}")
    return results


if __name__ == "__main__":
    main()
