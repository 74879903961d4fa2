"""How PyTorch runs a model on a CPU."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models import zoo

PEERS = ("eager", "channels_last", "inductor")


def is_for(kind: str, name: str) -> bool:
    """Whether a model can be run this way: a text has no channels."""
    return kind != "channels_last" or not zoo.is_text(name)


def peer(kind: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """A call of the model on the inputs.

    ``inductor`` is ``torch.compile`` with frozen weights: it folds and packs them, as Regraft does,
    but can never replace them.
    """
    run: Callable[..., object] = model
    if kind == "channels_last":
        run = copy.deepcopy(model).to(memory_format=torch.channels_last)
        inputs = tuple(
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
        )
    elif kind == "inductor":
        torch.compiler.reset()
        run = torch.compile(copy.deepcopy(model), dynamic=False)
        with torch.no_grad(), torch._inductor.config.patch(freezing=True):
            run(*inputs)  # Compiles.
    return functools.partial(_call, run, inputs)


def _call(run: Callable[..., object], inputs: tuple[Tensor, ...]) -> object:
    # Not inference_mode, for which Inductor would compile once more.
    with torch.no_grad():
        return run(*inputs)
