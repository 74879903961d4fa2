"""From Python calls to flat tensors and back: the pytrees of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from regraft.errors import MismatchError


class CallSpec:
    """How a program is called: the trees of its inputs and outputs.

    Only tensors are inputs of an engine; numbers and strings of the example call are part of the
    program, and a later call may repeat them but not change them (the export checked that).
    """

    def __init__(self, in_spec: str, out_spec: str, tensor_leaves: Sequence[int]) -> None:
        self._in_spec = pytree.treespec_loads(in_spec)
        self._out_spec = pytree.treespec_loads(out_spec)
        self._tensor_leaves = list(tensor_leaves)

    def flatten(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
        """The tensors of a call, in the order of the engine's inputs.

        Raises:
            MismatchError: The call has another structure than the exported one.
        """
        kwargs = self._in_order(kwargs)
        leaves, spec = pytree.tree_flatten((args, dict(kwargs)))
        if spec != self._in_spec:
            raise MismatchError(f"[engine] inputs: want the structure {self._in_spec}, have {spec}")
        tensors = [leaves[i] for i in self._tensor_leaves]
        for index, tensor in zip(self._tensor_leaves, tensors, strict=True):
            if not isinstance(tensor, torch.Tensor):
                raise MismatchError(
                    f"[engine] input {index}: want a tensor, have {type(tensor).__name__}"
                )
        return tensors

    def _in_order(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        # Keyword order is the caller's business; the tree has the order of the export.
        names = self._in_spec.children()[1].context
        if list(kwargs) != names and sorted(kwargs) == sorted(names):
            return {name: kwargs[name] for name in names}
        return kwargs

    def unflatten(self, outputs: Sequence[torch.Tensor]) -> Any:
        """The outputs in the structure that the program returns."""
        return pytree.tree_unflatten(list(outputs), self._out_spec)
