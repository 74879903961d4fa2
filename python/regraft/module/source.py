"""New weights of a module, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from regraft import _regraft
from regraft._cuda import current_stream
from regraft._handover import Row, dtype_name, plain, resolved, source_of, unreadable
from regraft._weights import Weights, is_path, open_file, tensors_from


class Source(Protocol):
    """Where new weights come from."""

    description: str

    def names(self) -> list[str]: ...
    def spec(self, name: str) -> tuple[str, tuple[int, ...]]:
        """dtype and sizes, in the core's words. Raises TypeError for what is no tensor."""

    def tensor(self, name: str) -> torch.Tensor:
        """In host memory."""

    def resident(self, name: str) -> torch.Tensor:
        """Where it lies."""

    def prepare(
        self, engine: _regraft.Engine, names: Iterable[str], options: _regraft.RefitOptions
    ) -> _regraft.PreparedRefit:
        """Computes an engine's new constants of these tensors."""


class MappingSource:
    """Tensors in memory."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self.description = f"mapping of {len(tensors)} tensors"

    def names(self) -> list[str]:
        return list(self._tensors)

    def spec(self, name: str) -> tuple[str, tuple[int, ...]]:
        value = self._tensors[name]
        if problem := unreadable(value):
            raise TypeError(problem)
        return dtype_name(value.dtype), tuple(value.shape)

    def tensor(self, name: str) -> torch.Tensor:
        return plain(self._tensors[name])

    def resident(self, name: str) -> torch.Tensor:
        return resolved(self._tensors[name])

    def prepare(
        self, engine: _regraft.Engine, names: Iterable[str], options: _regraft.RefitOptions
    ) -> _regraft.PreparedRefit:
        device = None if engine.device == "cpu" else torch.device(engine.device)
        if device is not None:
            options.stream = current_stream(device)
        source, kept = source_of({name: self._tensors[name] for name in names}, device)
        prepared = engine.prepare_source(source, options)
        del kept
        return prepared


class FileSource:
    """A mapped ``.safetensors`` or ``.pt2`` file: engines may keep its pages."""

    def __init__(self, source: _regraft.WeightSource) -> None:
        self._source = source
        self.description = source.description()

    def names(self) -> list[str]:
        return self._source.names()

    def spec(self, name: str) -> tuple[str, tuple[int, ...]]:
        dtype, dims = self._source.spec(name)
        return dtype, tuple(dims)

    def tensor(self, name: str) -> torch.Tensor:
        tensor: Any = self._source.read(name)
        out: torch.Tensor = tensor
        return out

    def resident(self, name: str) -> torch.Tensor:
        return self.tensor(name)

    def prepare(
        self, engine: _regraft.Engine, names: Iterable[str], options: _regraft.RefitOptions
    ) -> _regraft.PreparedRefit:
        return engine.prepare_source(_regraft.select_tensors(self._source, list(names)), options)


def open_weights(weights: Weights) -> Source:
    """A source of whatever form weights come in.

    Raises:
        TypeError: ``weights`` is none of the known forms.
    """
    if is_path(weights):
        return FileSource(open_file(weights))  # type: ignore[arg-type]
    return MappingSource(tensors_from(weights))


def row_of(name: str, tensor: torch.Tensor) -> Row:
    """The address of one tensor for the core; the caller keeps the tensor."""
    return (
        name,
        tensor.data_ptr(),
        dtype_name(tensor.dtype),
        list(tensor.shape),
        list(tensor.stride()),
    )
