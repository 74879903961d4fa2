"""The form of adapters: what they have in common whose values alone differ."""

from __future__ import annotations

from dataclasses import dataclass

from regraft.lora.config import LoraConfig


@dataclass(frozen=True)
class Form:
    """All that deltas are made of but the values of A and B.

    Attributes:
        name: The only name that such adapters can be loaded under; None: any.
        layout: Names, dtypes and sizes of A and B in their order.
        alphas: By name in the state dict.
        deltas: Parameter, the names of A and B, scale, transposed.
    """

    name: str | None
    prefix: str
    layout: bytes
    alphas: tuple[tuple[str, float], ...]
    config: LoraConfig
    deltas: tuple[tuple[str, str, str, float, bool], ...]
