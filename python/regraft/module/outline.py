"""What a functional program computes, in a short form that another export can be compared with.

The core has one of its own for programs that it takes whole; PyTorch segments need this one.
"""

from __future__ import annotations

import difflib
import hashlib
import operator
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from regraft.errors import MismatchError

# Their numbers are sizes, which another export of the same model may have as symbols.
_SIZED = ("view", "reshape", "expand", "slice", "arange", "full", "zeros", "ones", "empty", "split")


def outline_of(program: ExportedProgram) -> list[str]:
    """One line for each op of a functional program: "aten.relu.default:1f3a...".

    Names of values and inputs, sizes, and whether sizes are symbols do not enter; parameters enter
    by name.
    """
    numbers: dict[fx.Node, str] = {}
    for spec in program.graph_signature.input_specs:
        own = spec.kind != InputKind.USER_INPUT and spec.target is not None
        for node in program.graph.find_nodes(op="placeholder"):
            if node.name == spec.arg.name:
                numbers[node] = f"@{spec.target}" if own else f"%{len(numbers)}"
    lines: list[str] = []
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if not _has_tensors(node):
            numbers[node] = "#"
            continue
        name = _name(node.target)
        is_sized = any(word in name for word in _SIZED)
        args = [_text(arg, numbers, is_sized) for arg in node.args]
        args += [f"{k}={_text(v, numbers, is_sized)}" for k, v in sorted(node.kwargs.items())]
        text = f"{name}({', '.join(args)})"
        short = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        numbers[node] = f"%{len(lines)}"
        lines.append(f"{name}:{short}")
    return lines


def want_same(have: list[str], want: list[str]) -> None:
    """Compares outlines, of this kind or the core's.

    Raises:
        MismatchError: The graphs differ; lists where.
    """
    if have == want:
        return
    # A line that differs changes what its readers are called; the ops tell what happened.
    old, new = [x.split(":")[0] for x in want], [x.split(":")[0] for x in have]
    problems = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            problems.append(
                f"op {i}: want {', '.join(old[i:j]) or 'nothing'}, "
                f"have {', '.join(new[k:m]) or 'nothing'}"
            )
    if not problems:
        at = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
        problems = [f"op {at}: {old[at]} has other arguments than it was compiled with"]
    raise MismatchError(
        "[refit] the new program has another architecture:\n  " + "\n  ".join(problems[:20])
    )


def _has_tensors(node: fx.Node) -> bool:
    leaves = torch.utils._pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(leaf, torch.Tensor) for leaf in leaves)


def _name(target: Any) -> str:
    return "getitem" if target is operator.getitem else str(target)


def _text(value: Any, numbers: dict[fx.Node, str], is_sized: bool) -> str:
    if isinstance(value, fx.Node):
        text = numbers.get(value, "graph")
        return "_" if is_sized and text == "#" else text
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item, numbers, is_sized) for item in value) + "]"
    if is_sized and isinstance(value, int) and not isinstance(value, bool):
        return "_"
    return repr(value)
