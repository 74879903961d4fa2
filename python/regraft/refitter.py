"""Refits from the same tensors again and again."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regraft import _regraft
from regraft._cuda import current_stream
from regraft.errors import StateError
from regraft.lora.state import Slot


class Refitter:
    """What ``Engine.refitter`` gives: a call refits with the values that the tensors have then.

    While it lives, PyTorch refuses ``torch.utils.swap_tensors`` of its tensors.

    Thread-safety: calls from several threads take turns.
    """

    def __init__(
        self,
        core: _regraft.Refitter,
        slot: Slot,
        device: torch.device | None,
        tensors: Sequence[torch.Tensor],
    ) -> None:
        self._core = core
        self._slot = slot
        self._device = device
        # The core reads their memory: they must live, and stay where they are.
        self._places = _regraft.Places(list(tensors))

    def __call__(self) -> _regraft.RefitReport:
        """Refits; on a GPU, after what PyTorch's current stream has been given so far.

        Returns:
            As ``Engine.refit``.

        Raises:
            StateError: A tensor has got other memory (``p.data = ...``); adapters are active,
                whose values depend on more than these tensors; or as ``Engine.refit``.
            MismatchError: As ``Engine.refit``; the old weights stay in use.
        """
        if not self._places.are_same():
            raise StateError("[refit] a tensor has got other memory: make another refitter")
        with self._slot.lock:
            if self._slot.state.recipes():
                raise StateError("[refit] adapters are active: use refit(), which merges them")
            stream = 0 if self._device is None else current_stream(self._device)
            return self._core.run(stream)
