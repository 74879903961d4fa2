"""What an engine cache is."""

from __future__ import annotations

from abc import ABC, abstractmethod


class BaseEngineCache(ABC):
    """Where compiled plans are kept: bytes by key. Derive from it to keep them elsewhere.

    Methods may be called from several threads. What they raise is logged as a warning and counts
    as a miss. ``load`` need not vouch for the bytes: an entry that is damaged, or not the one saved
    under the key, is found out and counts as a miss.
    """

    @abstractmethod
    def save(self, key: str, blob: bytes) -> None:
        """Keeps an entry, instead of the one that is there.

        Args:
            key: 32 hexadecimal digits that stand for the graph, the settings and the versions.
            blob: An engine file without weights; kilobytes.
        """

    @abstractmethod
    def load(self, key: str) -> bytes | None:
        """The entry saved under a key, or None."""

    def remove(self, key: str) -> None:  # noqa: B027 - most caches can leave it.
        """Drops an entry that turned out to be of no use; called when nothing replaces it."""
