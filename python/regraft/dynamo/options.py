"""The ``options=`` of torch.compile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regraft._want import have, want_mapping, want_type
from regraft.errors import InvalidArgumentError
from regraft.settings import CompilationSettings, make_settings, want_known
from regraft.tracking import TRACK

# Decided by torch.compile or per graph.
_NOT_OPTIONS = {"dryrun", "optimum", "realised", "strip_engine_weights"}
_SETTINGS = {field.name for field in dataclasses.fields(CompilationSettings)}


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
            TypeError: Names that are no options; names the nearest ones.
            InvalidArgumentError: A value is not usable.
        """
        if given is not None:
            want_mapping("[dynamo] options", given)
        given = dict(given or {})
        want_known(given, option_names())
        if given.get("track", "version") not in TRACK:
            raise InvalidArgumentError(
                f"[dynamo] track: want one of {', '.join(map(repr, TRACK))}, "
                f"have {given['track']!r}"
            )
        for name in ("fallback_on_grad", "require_full_compilation"):
            want_type(f"[dynamo] {name}", given.get(name, False), bool)
        progress = given.get("progress")
        if progress is not None and not callable(progress):
            raise TypeError(f"[dynamo] progress: want a function, have {have(progress)}")
        make_settings({k: v for k, v in given.items() if k in _SETTINGS})
        full = bool(given.get("require_full_compilation", False))
        own = {name: given.pop(name) for name in ("track", "fallback_on_grad") if name in given}
        return Options(given, require_full_compilation=full, **own)


def option_names() -> list[str]:
    """Every name that ``options=`` may have."""
    own = ["track", "fallback_on_grad", "require_full_compilation"]
    return sorted({*_SETTINGS, "progress", *own} - _NOT_OPTIONS)
