"""A/B test: two checkpoints answer side by side from one compiled engine.

    python examples/ab_test.py --requests 200

The engine is compiled once. A fork of it shares the plan and all weights; its refit costs the bytes
that differ. Requests are split between the two by their id, then the winner is promoted on the
running engine, and taken back. The checkpoints are language models of antibodies, trained on heavy
and on light chains: each fills in masked residues of its own kind of chain only.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.export import Dim

import regraft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models import pretrained

SEQUENCES = {"heavy": pretrained.HEAVY, "light": pretrained.LIGHT}
CHECKPOINTS = {"heavy": "vh", "light": "vl"}
MASK = pretrained.TOKENS.index("<mask>")


@dataclass
class Arm:
    """One side of the test.

    Attributes:
        engine: Answers the requests.
        model: The same weights in PyTorch.
        own_bytes: Of constants that it does not share with the engine it was forked from.
        asked, right: Masked residues by kind of chain, and those of them filled in right.
        error: Largest relative L2 error of an answer to PyTorch's.
    """

    engine: regraft.Engine
    model: torch.nn.Module
    own_bytes: int
    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    error: float = 0.0

    def share(self, chain: str) -> float:
        """Of the masked residues of a kind of chain, how many were filled in right."""
        return self.right[chain] / max(1, self.asked[chain])


@dataclass(frozen=True)
class Results:
    """What came of the test.

    Attributes:
        arms: By the name of the checkpoint.
        head_bytes: Of a third variant's own constants, in which only the output layers differ.
        promoted_equal: Whether the promoted engine gave the bits of the winner.
        restored_equal: Whether it gave its own bits again after that was taken back.
    """

    arms: dict[str, Arm]
    head_bytes: int
    promoted_equal: bool
    restored_equal: bool


def reference(chain: str) -> torch.nn.Module:
    """The checkpoint in PyTorch."""
    model = pretrained.antibody()
    model.load_state_dict(pretrained.antibody_weights(CHECKPOINTS[chain]))
    return model


def request(number: int, chain: str) -> tuple[Tensor, Tensor]:
    """A sequence with a tenth of its residues masked, i64[1,L+2], and the one without masks."""
    sequence = SEQUENCES[chain]
    ids = torch.tensor([[0, *(pretrained.TOKENS.index(c) for c in sequence), 2]])
    generator = torch.Generator().manual_seed(number)
    masked = 1 + torch.randperm(len(sequence), generator=generator)[: len(sequence) // 10]
    return ids.index_fill(1, masked, MASK), ids


def arm_of(number: int) -> str:
    """A request always goes to the same side."""
    return "heavy" if hashlib.sha256(str(number).encode()).digest()[0] % 2 else "light"


def answer(arm: Arm, chain: str, masked: Tensor, ids: Tensor) -> None:
    """Runs a request and keeps the score."""
    logits = arm.engine(masked)
    want = arm.model(masked)
    arm.error = max(arm.error, float((logits - want).norm() / want.norm()))
    arm.asked[chain] += int((masked == MASK).sum())
    arm.right[chain] += pretrained.recovered(logits, masked, ids)


def forked(
    engine: regraft.Engine, weights: dict[str, Tensor], partial: bool = False
) -> tuple[regraft.Engine, int]:
    """A fork with other weights, and the bytes of the constants it has for itself."""
    fork = engine.fork()
    return fork, fork.refit(weights, partial=partial).bytes_out


def run(requests: int) -> Results:
    """Compiles the heavy chain's model, forks the light chain's, and sends requests to both."""
    models = {chain: reference(chain) for chain in CHECKPOINTS}
    example, _ = request(0, "heavy")
    length = Dim("length", min=8, max=130)
    heavy = regraft.compile(models["heavy"], (example,), dynamic_shapes=({1: length},))
    weights = pretrained.antibody_weights("vl")
    light, light_bytes = forked(heavy, weights)
    arms = {
        "heavy": Arm(heavy, models["heavy"], heavy.memory().constants),
        "light": Arm(light, models["light"], light_bytes),
    }
    for number in track(range(requests), "Requests", transient=True):
        for chain in SEQUENCES:
            answer(arms[arm_of(number)], chain, *request(number, chain))

    _, head_bytes = forked(heavy, {n: w for n, w in weights.items() if "dense" in n}, partial=True)

    before, winner = heavy(example), light(example)
    heavy.refit(weights)
    promoted = heavy(example)
    heavy.rollback()
    return Results(
        arms, head_bytes, torch.equal(promoted, winner), torch.equal(heavy(example), before)
    )


def main(arguments: Sequence[str] | None = None) -> Results:
    """Prints the scores of both checkpoints; returns them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200, help="for each kind of chain")
    results = run(parser.parse_args(arguments).requests)

    table = Table(title="Residues filled in right, by checkpoint")
    for column in ("checkpoint", "heavy chains", "light chains", "own kB", "error"):
        table.add_column(column, justify="right")
    for name, arm in results.arms.items():
        shares = [f"{arm.share(chain):.0%}" for chain in SEQUENCES]
        table.add_row(
            name,
            *shares,
            f"{arm.own_bytes / 1e3:.0f}",
            f"{arm.error:.0e}",
        )
    Console().print(table)
    print(f"a variant with other output layers only: {results.head_bytes / 1e3:.0f} kB of its own")
    print(f"promoted: the winner's bits, {results.promoted_equal}")
    print(f"rolled back: the bits of before, {results.restored_equal}")
    return results


if __name__ == "__main__":
    main()
