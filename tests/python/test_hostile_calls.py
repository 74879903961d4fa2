"""What engine files say of how they are called: nothing of it is trusted."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import regraft
from regraft._calling import CallSpec, call_text

_TREES = json.loads(
    call_text(
        torch.export.export(nn.ReLU(), (torch.randn(3),)),
        *(pytree.treespec_dumps(pytree.tree_structure(t)) for t in (((0,), {}), 0)),
    )
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps(_TREES | {"in_spec": "[]"}),
        json.dumps(_TREES | {"in_spec": '[1, {"type": "os.system", "context": "x"}]'}),
        json.dumps(_TREES | {"tensor_leaves": [1]}),
        json.dumps(_TREES | {"tensor_leaves": [-1]}),
        json.dumps(_TREES | {"constants": [[5, 1]]}),
        json.dumps(_TREES | {"constants": 7}),
        json.dumps(_TREES | {"number_symbols": [["s0", 0, None]]}),
        json.dumps(_TREES | {"out_constants": [3]}),
    ],
)
def test_trees_of_hostile_files_are_errors(text: str) -> None:
    CallSpec(json.dumps(_TREES)).check_counts(1, 1)
    with pytest.raises(regraft.CorruptError, match="trees of inputs and outputs"):
        CallSpec(text)


def test_trees_of_another_program_are_errors() -> None:
    spec = CallSpec(json.dumps(_TREES))
    for counts in ((0, 1), (1, 2)):
        with pytest.raises(regraft.CorruptError, match="have 1 and 1"):
            spec.check_counts(*counts)
