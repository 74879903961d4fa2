"""Engines on GPUs: PyTorch's devices, streams and memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from regraft import _regraft
from regraft._handover import Row, dtype_name, resolved, torch_dtype
from regraft.errors import MismatchError, StateError

# What torch.compile's own programs ask: without a Stream around the number.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def show_libraries() -> None:
    """Tells the core where PyTorch's CUDA libraries are, unless the user did."""
    packages = os.path.dirname(os.path.dirname(torch.__file__))
    os.environ.setdefault("REGRAFT_CUDA_PATH", packages)


def device_name(backend: str, device: str | torch.device | None) -> str:
    """The core's name for where an engine of ``backend`` runs; empty for the host.

    Without ``device``, PyTorch's current one.
    """
    if backend != "cuda":
        return "" if device is None else str(device)
    if device is None or str(device) == "cuda":
        return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cuda"
    return str(device)


def current_stream(device: torch.device) -> int:
    """The stream that PyTorch enqueues to."""
    if _raw_stream is not None and device.index is not None:
        return int(_raw_stream(device.index))
    return int(torch.cuda.current_stream(device).cuda_stream)


class DeviceCalls:
    """Calls of one engine with tensors of its device: outputs come from PyTorch's allocator, work
    is ordered on PyTorch's current stream, and nothing waits for it."""

    def __init__(self, core: _regraft.Engine) -> None:
        self._core = core
        self.device = torch.device(core.device)
        signature = core.signature()
        self._dtypes = [torch_dtype(spec.dtype) for spec in signature.outputs]
        self._dims = lru_cache(maxsize=64)(core.output_dims)

    def run(
        self, tensors: Sequence[torch.Tensor], weights: _regraft.Weights | None = None
    ) -> list[torch.Tensor]:
        """Runs on flat inputs.

        Raises:
            MismatchError: An input lies elsewhere, or does not fit; lists every one.
            StateError: An input requires grad outside ``torch.no_grad()``.
        """
        inputs = self._checked(tensors)
        dims = self._dims(tuple(tensor.shape for tensor in inputs))
        outputs = [
            torch.empty(d, dtype=dtype, device=self.device)
            for d, dtype in zip(dims, self._dtypes, strict=True)
        ]
        self._core.run_rows(
            [_row(tensor) for tensor in inputs],
            [_row(tensor) for tensor in outputs],
            current_stream(self.device),
            weights,
        )
        return outputs

    def _checked(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        elsewhere = [
            f"input {i}: want {self.device}, have {tensor.device}"
            for i, tensor in enumerate(tensors)
            if tensor.device != self.device
        ]
        if elsewhere:
            raise MismatchError("[engine] " + "; ".join(elsewhere))
        if torch.is_grad_enabled():
            for i, tensor in enumerate(tensors):
                if tensor.requires_grad:
                    raise StateError(
                        f"[engine] input {i} requires grad: engines do inference; call the engine "
                        "under torch.no_grad()"
                    )
        return [resolved(tensor) for tensor in tensors]


def _row(tensor: Any) -> Row:
    return ("", tensor.data_ptr(), dtype_name(tensor.dtype), tensor.shape, tensor.stride())
