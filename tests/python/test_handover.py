"""Tensors on their way to the core."""

from __future__ import annotations

import pytest
import torch

from regraft import _regraft
from regraft._handover import rows_of, source_of

NUMBERS = torch.view_as_complex(torch.arange(8.0).reshape(4, 2))


def test_tensors_that_share_memory_share_their_copy() -> None:
    one, other = NUMBERS.conj().imag, NUMBERS.conj().imag
    assert one.is_neg()
    rows, kept = rows_of({"a": one, "b": other, "c": NUMBERS.conj().imag.clone()})
    assert rows[0][1] == rows[1][1] != rows[2][1]
    assert torch.equal(kept[0], one)


def test_views_that_read_memory_otherwise_have_copies_of_their_own() -> None:
    tensors = {
        "plain": NUMBERS,
        "conjugate": NUMBERS.conj(),
        "imaginary": NUMBERS.imag,
        "negative": NUMBERS.conj().imag,
        "reversed": NUMBERS.conj()[1:3],
    }
    rows, kept = rows_of(tensors)
    assert len({(row[1], row[2], tuple(row[3])) for row in rows}) == len(tensors)
    for tensor, want in zip(kept, tensors.values(), strict=True):
        assert torch.equal(tensor, want.resolve_conj().resolve_neg())


@pytest.mark.cuda
def test_tied_tensors_of_a_device_stay_tied() -> None:
    weight = torch.rand(3, 4, device="cuda")
    rows, _ = rows_of({"a": weight, "b": torch.nn.Parameter(weight), "c": weight[:2]})
    assert rows[0][1] == rows[1][1] != rows[2][1]


def test_ordinary_tensors_need_no_rows() -> None:
    weight = torch.rand(3, 4)
    tensors = {
        "plain": weight,
        "parameter": torch.nn.Parameter(weight),
        "turned": weight.t(),
        "slice": weight[1:, ::2],
        "number": torch.tensor(3),
        "empty": torch.empty(0, 5),
        "half": weight.bfloat16(),
        "float8": weight.to(torch.float8_e4m3fn).t(),
        "other float8": weight.to(torch.float8_e5m2),
        "conjugable": NUMBERS,
    }
    source = _regraft.try_source(tensors, -1)
    assert source is not None
    assert source.names() == list(tensors)
    for name, want in tensors.items():
        read = source.read(name)
        assert isinstance(read, torch.Tensor)
        assert read.dtype == want.dtype
        assert read.stride() == want.stride()
        assert read.data_ptr() == want.data_ptr()
        assert torch.equal(read, want.detach())


class Special(torch.Tensor):
    pass


FREED = torch.rand(4)
FREED.untyped_storage().resize_(0)
ODD = {
    "negative": NUMBERS.conj().imag,
    "conjugate": NUMBERS.conj(),
    "meta": torch.empty(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(),
    "special": torch.rand(3).as_subclass(Special),
    "freed": FREED,
    "quantised": torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8),
    "float8": torch.rand(3).to(torch.float8_e4m3fnuz),
    "number": 3.0,
    "nothing": None,
}


@pytest.mark.parametrize("name", ODD)
def test_everything_else_is_looked_at_in_python(name: str) -> None:
    assert _regraft.try_source({"a": torch.rand(2), name: ODD[name]}, -1) is None


def test_sources_of_both_kinds_are_equal() -> None:
    plain = {"a": NUMBERS.real, "b": torch.arange(3)}
    negative = {**plain, "c": NUMBERS.conj().imag}
    for tensors in (plain, negative):
        source, kept = source_of(tensors)
        assert source.names() == list(tensors)
        for name, want in tensors.items():
            assert torch.equal(source.read(name), want.resolve_neg())
        del kept
    with pytest.raises(TypeError, match=r"(?s)nothing: want a tensor.*meta: is a meta tensor"):
        source_of({"nothing": None, "a": plain["a"], "meta": ODD["meta"]})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="want a name"):
        source_of({3: plain["a"]})  # type: ignore[dict-item]


class _Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize("kind", [torch.Tensor, _Subclass])
def test_places_follow_memory(kind: type[torch.Tensor]) -> None:
    a, b = torch.rand(3).as_subclass(kind), torch.nn.Parameter(torch.rand(2, 2))
    places = _regraft.Places([a, b])
    a.mul_(2)
    assert places.are_same()
    kept = b.data
    b.data = kept.clone()
    assert not places.are_same()
    b.data = kept
    assert places.are_same()
    a.untyped_storage().resize_(0)
    assert not places.are_same()
    with pytest.raises(AttributeError):
        _regraft.Places([3])
