"""What the tests of the engine cache share."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import regraft
from regraft import _regraft
from regraft._compile import open_model
from regraft.cache import BaseEngineCache


class Memory(BaseEngineCache):
    """A user's own cache."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.removed: list[str] = []

    def save(self, key: str, blob: bytes) -> None:
        self.entries[key] = blob

    def load(self, key: str) -> bytes | None:
        return self.entries.get(key)

    def remove(self, key: str) -> None:
        self.removed.append(key)
        self.entries.pop(key, None)


def compile_with(cache: BaseEngineCache, model: nn.Module, args: Any, **options: Any) -> Any:
    return regraft.compile(
        model.eval(),
        args,
        cache_built_engines=True,
        reuse_cached_engines=True,
        custom_engine_cache=cache,
        **options,
    )


def key_of(model: nn.Module, args: tuple[Tensor, ...], shapes: Any = None, **options: Any) -> str:
    source = open_model(model.eval(), args, {}, shapes)
    return _regraft.cache_key(source.core, {"backend": "cpu", **options}).digest
