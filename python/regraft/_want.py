"""Checks of arguments: what is wrong with them is told before anything is done."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from regraft.errors import InvalidArgumentError

# Which parameters stay at hand for partial refits and saving.
RETAIN = ("auto", "host", "none")

_NAMES = {bool: "True or False", int: "an int", str: "a str", float: "a number"}


def want_type(what: str, value: Any, kind: type[Any]) -> None:
    """Wants a bool, an int, a str or a number (which bools are not).

    Raises:
        TypeError: It is none.
    """
    taken = (int, float) if kind is float else kind
    if not isinstance(value, taken) or (kind is not bool and isinstance(value, bool)):
        raise TypeError(f"{what}: want {_NAMES[kind]}, have {have(value)}")


def want_flags(stage: str, **flags: Any) -> None:
    """Wants bools.

    Raises:
        TypeError: Others; names the first one.
    """
    for name, value in flags.items():
        want_type(f"[{stage}] {name}", value, bool)


def want_choice(what: str, value: Any, choices: Sequence[str]) -> None:
    """Wants one of several words.

    Raises:
        TypeError: It is no word.
        InvalidArgumentError: It is another one.
    """
    want_type(what, value, str)
    if value not in choices:
        words = ", ".join(map(repr, choices[:-1]))
        raise InvalidArgumentError(f"{what}: want {words} or {choices[-1]!r}, have {value!r}")


def want_mapping(what: str, value: Any) -> None:
    """Raises a TypeError for what is no mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{what}: want a mapping, have {have(value)}")


def finite(what: str, value: Any) -> float:
    """The number as a float; tensors and arrays of one element are numbers too.

    Raises:
        TypeError: It is no number.
        InvalidArgumentError: It is not finite.
    """
    if isinstance(value, str | bytes):
        raise TypeError(f"{what}: want a number, have {have(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what}: want a number, have {have(value)}") from error
    if not math.isfinite(number):
        raise InvalidArgumentError(f"{what}: want a finite number, have {number}")
    return number


def path_text(path: str | bytes | os.PathLike[Any]) -> str:
    """A path as text.

    Raises:
        TypeError: It is no path.
        InvalidArgumentError: It is empty, or holds a character that ends it.
    """
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise InvalidArgumentError(f"[file] path: want the name of a file, have {text!r}")
    return text


def want_call(stage: str, args: Any, kwargs: Any) -> None:
    """Wants the arguments of a call: a tuple (or list) and, if any, a mapping.

    Raises:
        TypeError: They are others.
    """
    if not isinstance(args, tuple | list):
        raise TypeError(f"[{stage}] args: want a tuple of inputs, have {have(args)}")
    if kwargs is not None:
        want_mapping(f"[{stage}] kwargs", kwargs)


def have(value: Any) -> str:
    """A value in a message: its type, and itself where it is short."""
    name = type(value).__name__
    if isinstance(value, torch.Tensor):
        return f"{name} of sizes {list(value.shape)}" if not value.is_nested else name
    is_short = isinstance(value, str | int | float | complex) and len(repr(value)) < 50
    return f"{name} {value!r}" if is_short else name
