"""What an input of a program may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from regraft._want import finite, have, want_type
from regraft.errors import InvalidArgumentError
from regraft.torch_tensorrt._enums import dtype as dtype_names
from regraft.torch_tensorrt._enums import memory_format, torch_dtype

_RANGE = ("min_shape", "opt_shape", "max_shape")


def _domain(given: Any) -> tuple[float, float]:
    what = "[torch_tensorrt] tensor_domain"
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidArgumentError(f"{what}: want (low, high), have {given!r}")
    low, high = finite(what, given[0]), finite(what, given[1])
    if low >= high:
        raise InvalidArgumentError(f"{what}: want low < high, have {given!r}")
    return given[0], given[1]


class Input:
    """Shape and dtype of a tensor, or the range of its shapes.

    Args:
        shape: Sizes; or a dict of ``min_shape``, ``opt_shape`` and ``max_shape``.
        min_shape, opt_shape, max_shape: The range, instead of ``shape``; engines are tuned for
            ``opt_shape``.
        dtype: Of either library; float32 by default.
        format: Layout of the example tensor; engines read any strides.
        tensor_domain: (low, high) for values of the example tensor.
        torch_tensor: The example tensor; gives shape and dtype.
        name: For messages and the names of dynamic sizes.

    Raises:
        InvalidArgumentError: No shape or two, sizes that are none, or a range in another order.
    """

    def __init__(
        self,
        shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        *,
        min_shape: Sequence[int] | None = None,
        opt_shape: Sequence[int] | None = None,
        max_shape: Sequence[int] | None = None,
        dtype: Any = None,
        format: Any = torch.contiguous_format,  # noqa: A002 - the name to match.
        tensor_domain: tuple[float, float] | None = None,
        torch_tensor: torch.Tensor | None = None,
        name: str = "",
    ) -> None:
        want_type("[torch_tensorrt] Input: name", name, str)
        if not isinstance(torch_tensor, torch.Tensor | None):
            raise TypeError(
                f"[torch_tensorrt] torch_tensor: want a tensor, have {have(torch_tensor)}"
            )
        self.name = name
        self.format = memory_format(format)
        self.tensor_domain = None if tensor_domain is None else _domain(tensor_domain)
        self.torch_tensor = torch_tensor
        if torch_tensor is not None:
            shape = tuple(torch_tensor.shape) if shape is None else shape
            dtype = torch_tensor.dtype if dtype is None else dtype
        self.dtype = torch.float32 if dtype is None else torch_dtype(dtype)
        given = dict(zip(_RANGE, (min_shape, opt_shape, max_shape), strict=True))
        given = {key: value for key, value in given.items() if value is not None}
        if isinstance(shape, Mapping):
            given, shape = {**given, **shape}, None
        if (shape is None) == (not given) or (given and sorted(given) != sorted(_RANGE)):
            named = [*(["shape"] if shape is not None else []), *given] or ["none"]
            raise InvalidArgumentError(
                f"[torch_tensorrt] {self._label()}: want shape, or all of {', '.join(_RANGE)}; "
                f"have {', '.join(named)}"
            )
        if shape is not None:
            given = dict.fromkeys(_RANGE, shape)
        sizes = {key: self._sizes(key, value) for key, value in given.items()}
        self.min_shape, self.opt_shape, self.max_shape = (sizes[key] for key in _RANGE)
        self._want_order()

    def _label(self) -> str:
        return f"Input {self.name!r}" if self.name else "Input"

    def _sizes(self, key: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, int):
            value = (value,)
        sizes = tuple(value)
        if not all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in sizes):
            raise InvalidArgumentError(
                f"[torch_tensorrt] {self._label()}: {key}: want sizes of at least 0, have {sizes}"
            )
        return sizes

    def _want_order(self) -> None:
        shapes = self.min_shape, self.opt_shape, self.max_shape
        fits = len({len(shape) for shape in shapes}) == 1
        if not fits or any(not a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise InvalidArgumentError(
                f"[torch_tensorrt] {self._label()}: want min_shape <= opt_shape <= max_shape, have "
                f"{shapes[0]}, {shapes[1]}, {shapes[2]}"
            )

    @property
    def is_dynamic(self) -> bool:
        """Whether a size may vary."""
        return self.min_shape != self.max_shape

    @property
    def shape(self) -> Any:
        """The sizes; of a range, a dict of the three."""
        if not self.is_dynamic:
            return self.opt_shape
        return {key: getattr(self, key) for key in _RANGE}

    @property
    def free_dims(self) -> tuple[int, ...]:
        """Dims whose size may vary."""
        pairs = zip(self.min_shape, self.max_shape, strict=True)
        return tuple(i for i, (low, high) in enumerate(pairs) if low != high)

    def example_tensor(self, optimization_profile_field: str = "opt_shape") -> torch.Tensor:
        """A tensor of one of the three shapes: the one given, or random values.

        Args:
            optimization_profile_field: "min_shape", "opt_shape" or "max_shape".
        """
        if optimization_profile_field not in _RANGE:
            raise InvalidArgumentError(
                f"[torch_tensorrt] optimization_profile_field: want one of {', '.join(_RANGE)}, "
                f"have {optimization_profile_field!r}"
            )
        return self._tensor(getattr(self, optimization_profile_field))

    def traced_tensor(self) -> torch.Tensor:
        """A tensor to export with: torch.export takes sizes of 0 and 1 for fixed ones."""
        sizes = list(self.opt_shape)
        for dim in self.free_dims:
            sizes[dim] = min(max(sizes[dim], 2), self.max_shape[dim])
        return self._tensor(tuple(sizes))

    def _tensor(self, sizes: tuple[int, ...]) -> torch.Tensor:
        if self.torch_tensor is not None and tuple(self.torch_tensor.shape) == sizes:
            return self.torch_tensor.to(self.dtype)
        low, high = self.tensor_domain or (0.0, 2.0)
        values = torch.rand(sizes) * (high - low) + low
        # Layouts are those of tensors with four or five dims.
        rank = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(self.format, len(sizes))
        laid_out = values.to(self.dtype)
        return laid_out.contiguous(memory_format=self.format) if rank == len(sizes) else laid_out

    @classmethod
    def from_tensor(cls, t: torch.Tensor, disable_memory_format_check: bool = False) -> Input:
        """The input that takes tensors like this one.

        Args:
            disable_memory_format_check: Take the layout for contiguous without looking.
        """
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"[torch_tensorrt] want a tensor, have {have(t)}")
        is_last = t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last)
        is_plain = disable_memory_format_check or t.is_contiguous() or not is_last
        layout = torch.contiguous_format if is_plain else torch.channels_last
        return cls(torch_tensor=t, format=layout)

    @classmethod
    def from_tensors(
        cls, ts: Sequence[torch.Tensor], disable_memory_format_check: bool = False
    ) -> list[Input]:
        """``from_tensor`` of each."""
        return [cls.from_tensor(t, disable_memory_format_check) for t in ts]

    def __repr__(self) -> str:
        names = {d.value: d.name for d in dtype_names}
        name = f", name={self.name!r}" if self.name else ""
        return f"Input(shape={self.shape}, dtype={names.get(self.dtype, self.dtype)}{name})"
