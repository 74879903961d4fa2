"""Engine caches."""

from regraft.cache import BaseEngineCache, DiskEngineCache

__all__ = ["BaseEngineCache", "DiskEngineCache"]
