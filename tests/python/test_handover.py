"""Tensors on their way to the core."""

from __future__ import annotations

import pytest
import torch

from regraft._handover import rows_of

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
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_tied_tensors_of_a_device_stay_tied() -> None:
    weight = torch.rand(3, 4, device="cuda")
    rows, _ = rows_of({"a": weight, "b": torch.nn.Parameter(weight), "c": weight[:2]})
    assert rows[0][1] == rows[1][1] != rows[2][1]
