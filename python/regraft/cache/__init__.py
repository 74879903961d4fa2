"""Keeps compiled plans, so that a program of a graph seen before needs no compilation."""

from regraft.cache.base import BaseEngineCache
from regraft.cache.disk import DEFAULT_SIZE, DiskEngineCache, default_dir
from regraft.cache.options import cache_options, want_cache

__all__ = [
    "DEFAULT_SIZE",
    "BaseEngineCache",
    "DiskEngineCache",
    "cache_options",
    "default_dir",
    "want_cache",
]
