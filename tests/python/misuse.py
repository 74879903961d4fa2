"""What the tests of misuse share: one case is a call, its error, and words of the message."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

import regraft


@dataclass(frozen=True)
class Misuse:
    """`call` gets what the test is about; `words` is searched for in the message."""

    what: str
    call: Callable[[Any], object]
    error: type[BaseException]
    words: str


def table(*rows: tuple[str, Callable[[Any], object], type[BaseException], str]) -> Any:
    """The decorator of a test that gets each row as `case`."""
    cases = [Misuse(*row) for row in rows]
    assert len({case.what for case in cases}) == len(cases)
    return pytest.mark.parametrize("case", cases, ids=[case.what for case in cases])


def check(case: Misuse, subject: Any, answer: Callable[[], Any]) -> None:
    """The error comes, says where, and what answered before answers with the same bits."""
    before = leaves(answer())
    with pytest.raises(case.error) as caught:
        case.call(subject)
    text = str(caught.value)
    assert re.search(case.words, text), text
    assert "incompatible function arguments" not in text
    assert "bad_cast" not in text
    after = leaves(answer())
    assert len(before) == len(after)
    assert all(_equal(a, b) for a, b in zip(before, after, strict=True))


def leaves(values: Any) -> list[Any]:
    """What an answer is made of, in memory of its own."""
    flat: list[Any] = torch.utils._pytree.tree_leaves(values)
    return [value.clone() if isinstance(value, Tensor) else value for value in flat]


def _equal(a: Any, b: Any) -> bool:
    return bool(torch.equal(a, b) if isinstance(a, Tensor) else a == b)


def freed(tensor: Tensor) -> Tensor:
    """A tensor whose memory is gone, as sharding libraries leave it."""
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


def fake(tensor: Tensor) -> Tensor:
    made: Tensor = FakeTensorMode().from_tensor(tensor)
    return made


def nested(tensor: Tensor) -> Tensor:
    made: Tensor = torch.nested.nested_tensor([tensor, tensor])
    return made


def quantised(tensor: Tensor) -> Tensor:
    made: Tensor = torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)
    return made


# Of each kind of tensor that has no elements to read: how to make one, what is said of it.
UNREADABLE: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "array": (lambda t: t.numpy(), "want a tensor, have ndarray"),
    "none": (lambda t: None, "want a tensor, have NoneType"),
    "meta": (lambda t: t.to("meta"), "is a meta tensor and has no values"),
    "fake": (fake, "has no memory"),
    "freed": (freed, "has no memory: its storage was freed"),
    "sparse": (lambda t: t.to_sparse(), r"want a strided tensor, have layout torch\.sparse_coo"),
    "nested": (nested, "want one tensor, have a nested one"),
    "lazy": (lambda t: torch.nn.UninitializedParameter(), "call the module once before"),
    "quantised": (quantised, r"torch\.qint8"),
    "float8": (lambda t: t.to(torch.float8_e4m3fnuz), r"torch\.float8_e4m3fnuz"),
}


@dataclass(frozen=True)
class Paths:
    """Names of what is no file of Regraft."""

    root: Path

    @property
    def missing(self) -> Path:
        return self.root / "missing"

    @property
    def no_folder(self) -> Path:
        return self.root / "nowhere" / "file"

    @property
    def below_file(self) -> Path:
        return self.garbage / "file"

    @property
    def empty(self) -> Path:
        return self._file("empty", b"")

    @property
    def garbage(self) -> Path:
        return self._file("garbage", bytes(range(256)))

    @property
    def archive(self) -> Path:
        """Begins like an archive."""
        return self._file("archive", b"PK and more")

    def cut(self, path: Path, size: int) -> Path:
        """The beginning of a file."""
        return self._file(f"cut_{size}_{path.name}", path.read_bytes()[:size])

    def _file(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.write_bytes(data)
        return path

    def names(self) -> list[str]:
        return sorted(os.listdir(self.root))


NOT_FOUND = regraft.MissingFileError
