"""The ``options=`` of torch.compile."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regraft.errors import InvalidArgumentError
from regraft.settings import CompilationSettings
from regraft.tracking import TRACK

# Decided by torch.compile or per graph.
_NOT_OPTIONS = {"dryrun", "optimum", "realised", "strip_engine_weights"}


@dataclass(frozen=True)
class Options:
    """What to do with the graphs of one ``torch.compile``.

    Attributes:
        settings: For ``regraft.compile``.
        track: As of ``regraft.tracking.WeightTracker``.
        fallback_on_grad: Graphs whose outputs require grad run in PyTorch; otherwise calling them
            is an error.
        require_full_compilation: Graphs without an engine are an error instead of running in
            PyTorch.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    track: str = "version"
    fallback_on_grad: bool = True
    require_full_compilation: bool = False

    @staticmethod
    def parse(given: Mapping[str, Any] | None) -> Options:
        """From the user's dict.

        Raises:
            TypeError: Names that are no options; each with the nearest one.
            InvalidArgumentError: A value is not usable.
        """
        given = dict(given or {})
        known = option_names()
        unknown = [name for name in given if name not in known]
        if unknown:
            raise TypeError("[dynamo] options: " + "; ".join(_unknown(n, known) for n in unknown))
        if given.get("track", "version") not in TRACK:
            raise InvalidArgumentError(
                f"[dynamo] track: want one of {', '.join(map(repr, TRACK))}, "
                f"have {given['track']!r}"
            )
        full = bool(given.get("require_full_compilation", False))
        own = {name: given.pop(name) for name in ("track", "fallback_on_grad") if name in given}
        if "require_full_compilation" in given and not _takes("require_full_compilation"):
            del given["require_full_compilation"]
        return Options(given, require_full_compilation=full, **own)


def option_names() -> list[str]:
    """Every name that ``options=`` may have."""
    own = ["track", "fallback_on_grad", "require_full_compilation"]
    return sorted({*_setting_names(), *own} - _NOT_OPTIONS)


def _setting_names() -> set[str]:
    return {field.name for field in dataclasses.fields(CompilationSettings)} | {"progress"}


def _takes(name: str) -> bool:
    return name in _setting_names()


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"no option is named {name!r}; the nearest is {nearest[0]!r}"
