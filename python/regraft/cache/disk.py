"""A cache in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from regraft import _regraft
from regraft._want import path_text
from regraft.cache.base import BaseEngineCache
from regraft.errors import InvalidArgumentError

DEFAULT_SIZE = 5 << 30


def default_dir() -> Path:
    """The user's own folder: ``$XDG_CACHE_HOME/regraft/engines`` or under ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "regraft" / "engines"


def want_size(engine_cache_size: Any) -> None:
    """Wants a number of bytes."""
    if isinstance(engine_cache_size, bool) or not isinstance(engine_cache_size, int):
        raise InvalidArgumentError(
            "[cache] engine_cache_size: want bytes as an int, have "
            f"{type(engine_cache_size).__name__}"
        )
    if not 0 <= engine_cache_size < 1 << 63:
        raise InvalidArgumentError(
            f"[cache] engine_cache_size: want 0 or more bytes, have {engine_cache_size}"
        )


class DiskEngineCache(BaseEngineCache):
    """Entries as files of one folder, never more bytes than stated: the least recently used go.

    Any number of processes may use a folder at once; one that is killed leaves nothing half-done.
    """

    def __init__(
        self,
        engine_cache_dir: str | os.PathLike[str] | None = None,
        engine_cache_size: int = DEFAULT_SIZE,
    ) -> None:
        """Opens a folder, which is made when the first entry is saved.

        Args:
            engine_cache_dir: ``default_dir()`` by default.
            engine_cache_size: Bytes that all entries together may take.

        Raises:
            InvalidArgumentError: The size is negative or no number, or the name is none.
        """
        want_size(engine_cache_size)
        self.engine_cache_dir = Path(path_text(engine_cache_dir or default_dir()))
        self.engine_cache_size = engine_cache_size
        self._core = _regraft.DiskCache(str(self.engine_cache_dir), engine_cache_size)

    def save(self, key: str, blob: bytes) -> None:
        """Keeps an entry; one beyond the size of the cache is logged and left out.

        Raises:
            InvalidArgumentError: The key is not letters, digits, '-' and '_'.
            IoError: The folder cannot be written.
            StateError: Another process holds the folder for seconds.
        """
        self._core.save(key, blob)

    def load(self, key: str) -> bytes | None:
        """The entry, which becomes the most recently used; None when there is none.

        Raises:
            InvalidArgumentError, IoError: As ``save``.
        """
        return self._core.load(key)

    def remove(self, key: str) -> None:
        """Drops an entry if it is there."""
        self._core.remove(key)

    def __repr__(self) -> str:
        return f"DiskEngineCache({str(self.engine_cache_dir)!r}, {self.engine_cache_size})"
