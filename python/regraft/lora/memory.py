"""Memory of adapters and base values, to which nobody else writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regraft import _regraft
from regraft._cuda import current_stream
from regraft._handover import table_of
from regraft.lora.adapter import Adapter, Delta, Replacement
from regraft.module.staging import same_bits


class Memory:
    """Row-major memory for some tensors, one piece for each dtype.

    Attributes:
        tensors: Views of it in the order of ``like``, of the same dtypes and sizes.
    """

    def __init__(self, like: Sequence[torch.Tensor], device: torch.device | None) -> None:
        """On a GPU, or on the host (None)."""
        self._device = device
        places: dict[torch.dtype, list[int]] = {}
        for i, tensor in enumerate(like):
            places.setdefault(tensor.dtype, []).append(i)
        self.tensors: list[torch.Tensor] = list(like)
        for dtype, indices in places.items():
            sizes = [like[i].numel() for i in indices]
            flat = torch.empty(sum(sizes), dtype=dtype, device=device or "cpu")
            for i, part in zip(indices, flat.split(sizes), strict=True):
                self.tensors[i] = part.view(like[i].shape)
        self._addresses = [tensor.data_ptr() for tensor in self.tensors]

    def fill(self, tensors: _regraft.Table) -> None:
        """Copies tensors like those of this memory, which may change then."""
        device = self._device
        stream = 0 if device is None else current_stream(device)
        _regraft.copy_tensors(tensors, str(device or "cpu"), self._addresses, stream)


def owned(tensors: Sequence[torch.Tensor], device: torch.device | None) -> list[torch.Tensor]:
    """Copies in memory of a GPU or of the host.

    Raises:
        TypeError: Some cannot be read.
    """
    table, kept = table_of(tensors, device)
    memory = Memory(tensors, device)
    memory.fill(table)
    del kept
    return memory.tensors


def owned_adapter(adapter: Adapter, old: Adapter | None, device: torch.device | None) -> Adapter:
    """The adapter in memory of its own, where it is merged; parts that have the bits of the old one
    are the old one's: recipes then stay equal, and nothing is refitted for them."""
    old = old or Adapter()
    deltas = {name: _kept_delta(d, old.deltas.get(name)) for name, d in adapter.deltas.items()}
    replaced = {name: _kept(r, old.replaced.get(name)) for name, r in adapter.replaced.items()}
    new = {name: delta for name, delta in adapter.deltas.items() if deltas[name] is None}
    values = {name: value for name, value in adapter.replaced.items() if replaced[name] is None}
    tensors = [t for delta in new.values() for t in (delta.a, delta.b)]
    copies = iter(owned([*tensors, *(r.value for r in values.values())], device))
    made = {
        name: Delta(next(copies), next(copies), d.scale, d.transposed) for name, d in new.items()
    }
    placed = {name: Replacement(next(copies)) for name in values}
    return Adapter(
        {name: delta or made[name] for name, delta in deltas.items()},
        {name: value or placed[name] for name, value in replaced.items()},
        lease=old.lease,
    )


def _kept_delta(new: Delta, old: Delta | None) -> Delta | None:
    if (
        old is not None
        and (old.scale, old.transposed) == (new.scale, new.transposed)
        and same_bits(old.a, new.a)
        and same_bits(old.b, new.b)
    ):
        return old
    return None


def _kept(new: Replacement, old: Replacement | None) -> Replacement | None:
    return old if old is not None and same_bits(old.value, new.value) else None
