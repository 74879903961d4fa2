"""Expressions over the sizes of inputs, as the core writes them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from regraft.errors import UnsupportedError

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "min": torch.sym_min,
    "max": torch.sym_max,
}


def evaluate(text: str, sizes: Mapping[str, Any]) -> Any:
    """The value of a size expression of a signature.

    Raises:
        UnsupportedError: It is no expression over these sizes.
    """

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name) and node.id in sizes:
            return sizes[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _FUNCTIONS
            and len(node.args) == 2
        ):
            return _FUNCTIONS[node.func.id](value(node.args[0]), value(node.args[1]))
        raise UnsupportedError(f"[engine] the size {text} is not determined by the inputs")

    return value(ast.parse(text, mode="eval").body)


def sizes_in(text: str) -> set[str]:
    """The symbols in an expression or a relation."""
    words = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return words - _FUNCTIONS.keys()


_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    "<": operator.lt,
}


def holds(guard: str, sizes: Mapping[str, int]) -> bool:
    """Whether a relation between sizes holds, ``"mod(s0,2) == 0"``.

    Raises:
        UnsupportedError: It is no relation between these sizes.
    """
    for text, relation in _RELATIONS.items():
        left, found, right = guard.partition(f" {text} ")
        if found:
            try:
                return bool(relation(evaluate(left, sizes), evaluate(right, sizes)))
            except ZeroDivisionError:
                return False
    raise UnsupportedError(f"[engine] {guard} is no relation between sizes")
