"""One generation of a module's weights."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch

from regraft import _regraft


class Cell:
    """A tensor of PyTorch segments that banks share. Only a refit in place writes to it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self._banks: weakref.WeakSet[Bank] = weakref.WeakSet()

    def added_to(self, bank: Bank) -> None:
        self._banks.add(bank)

    def is_shared_beyond(self, bank: Bank) -> bool:
        return any(other is not bank for other in self._banks)


class Bank:
    """The weights of all engines and PyTorch segments of a module. Immutable but for `release`.

    A call reads `Module`'s bank once and uses it to its end. While a bank lives, the engines keep
    the generation it pins.

    Attributes:
        generation: Its number.
        pins: By engine.
        tensors: Of the PyTorch segments, by canonical name.
        computed: Results of the segments that read weights alone, by their names.
    """

    def __init__(
        self, generation: int, pins: tuple[_regraft.Weights, ...], cells: Mapping[str, Cell]
    ) -> None:
        self.generation = generation
        self.pins = pins
        self.cells = dict(cells)
        self.tensors = {name: cell.tensor for name, cell in self.cells.items()}
        self.computed: dict[str, tuple[torch.Tensor, ...]] = {}
        self.storages = frozenset(
            t.untyped_storage().data_ptr() for t in self.tensors.values() if t.numel()
        )
        for cell in self.cells.values():
            cell.added_to(self)

    @property
    def computed_bytes(self) -> int:
        """Of ``computed``, but for views of the weights."""
        return sum(
            tensor.nbytes
            for tensors in list(self.computed.values())
            for tensor in tensors
            if tensor.untyped_storage().data_ptr() not in self.storages
        )

    def release(self) -> None:
        """Lets the engines' generation go, so that they may write to it. Nobody may be running."""
        self.pins = ()


def own_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy without autograd that nobody else writes to, laid out as the original."""
    tensor = tensor.detach()
    if tensor.is_conj():
        tensor = tensor.resolve_conj()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor.clone(memory_format=torch.preserve_format)


# ---- what the graph of a module calls ----


def weight(bank: Bank, name: str) -> torch.Tensor:
    """A weight of a PyTorch segment."""
    return bank.tensors[name]


def size_of(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """A tensor that has the size `dim` of `tensor` and no content: tells an engine that size."""
    return torch.zeros(1, dtype=torch.uint8, device="cpu").expand(tensor.shape[dim])


class EngineSegment(torch.nn.Module):
    """Runs an engine with the weights of a bank."""

    def __init__(self, engine: Any, index: int) -> None:
        super().__init__()
        self.engine = engine
        self.index = index

    def forward(self, bank: Bank, *tensors: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = self.engine.run_pinned(bank.pins[self.index], list(tensors))
        return outputs

    def extra_repr(self) -> str:
        return repr(self.engine)


class WeightSegment(torch.nn.Module):
    """Runs a PyTorch segment that reads weights alone: on the host, once for each bank, unless what
    it gives is larger than the weights.

    On a GPU in every call, as a recorded one must see what refits in place write.
    """

    def __init__(self, name: str, graph: torch.nn.Module) -> None:
        super().__init__()
        self.name = name
        self.graph = graph

    def forward(self, bank: Bank, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = bank.computed.get(self.name)
        if results is None:
            results = self.graph(*weights)
            is_small = sum(t.nbytes for t in results) <= sum(t.nbytes for t in weights)
            if is_small and all(tensor.is_cpu for tensor in (*weights, *results)):
                bank.computed[self.name] = results  # To the same bits, if two calls compute it.
        return results
