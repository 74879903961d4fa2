"""Names of dtypes and layouts."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch

from regraft.errors import InvalidArgumentError


class dtype(Enum):  # noqa: N801 - the name to match.
    """Element types, under all the names of Torch-TensorRT."""

    b = torch.bool
    u8 = torch.uint8
    i8 = torch.int8
    i32 = torch.int32
    i64 = torch.int64
    f8 = torch.float8_e4m3fn
    f16 = torch.float16
    bf16 = torch.bfloat16
    f32 = torch.float32
    f64 = torch.float64

    bool = b
    uint8 = u8
    int8 = i8
    int32 = int = i32
    int64 = long = i64
    fp8 = float8 = f8
    half = fp16 = float16 = f16
    bfloat16 = bf16
    float = fp32 = float32 = f32
    double = fp64 = float64 = f64

    def to(self, t: type[Any]) -> Any:
        """The dtype of PyTorch that this stands for.

        Args:
            t: ``torch.dtype``, the only kind of dtype there is here.
        """
        if t is not torch.dtype:
            raise TypeError(f"want torch.dtype, have {t!r}")
        return self.value

    @classmethod
    def _from(cls, t: Any) -> dtype:
        return cls(torch_dtype(t))


class TensorFormat(Enum):
    """Layouts of an input. Engines read any strides, so these only lay out example tensors."""

    contiguous = torch.contiguous_format
    linear = contiguous
    channels_last = cl = hwc = torch.channels_last
    channels_last_3d = torch.channels_last_3d
    cl3d = channels_last_3d


def torch_dtype(value: Any) -> torch.dtype:
    """A dtype of PyTorch from one of either library.

    Raises:
        InvalidArgumentError: It is none.
    """
    if isinstance(value, dtype):
        value = value.value
    if not isinstance(value, torch.dtype):
        raise InvalidArgumentError(
            f"[torch_tensorrt] dtype: want a torch.dtype or torch_tensorrt.dtype, have {value!r}"
        )
    return value


def memory_format(value: Any) -> torch.memory_format:
    """A layout of PyTorch from one of either library.

    Raises:
        InvalidArgumentError: It is none that PyTorch has.
    """
    if isinstance(value, TensorFormat):
        value = value.value
    if not isinstance(value, torch.memory_format):
        raise InvalidArgumentError(
            "[torch_tensorrt] format: want a torch.memory_format or torch_tensorrt.TensorFormat, "
            f"have {value!r}"
        )
    return value
