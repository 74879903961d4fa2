"""From the settings of a compilation to the options of the core."""

from __future__ import annotations

import functools
import os
from typing import Any

from regraft._want import path_text
from regraft.cache.base import BaseEngineCache
from regraft.cache.disk import DEFAULT_SIZE, DiskEngineCache, default_dir, want_size
from regraft.errors import InvalidArgumentError


def cache_options(
    cache_built_engines: bool = False,
    reuse_cached_engines: bool = False,
    engine_cache_dir: str | os.PathLike[str] | None = None,
    engine_cache_size: int = DEFAULT_SIZE,
    custom_engine_cache: BaseEngineCache | None = None,
) -> dict[str, Any]:
    """Options of ``_regraft.compile`` that make it use a cache; none when it is not to.

    Raises:
        InvalidArgumentError: ``custom_engine_cache`` is no cache, or the size is no size.
    """
    want_cache(engine_cache_dir, engine_cache_size, custom_engine_cache)
    if not (cache_built_engines or reuse_cached_engines):
        return {}
    cache = custom_engine_cache
    if cache is None:
        cache = _disk_cache(path_text(engine_cache_dir or default_dir()), engine_cache_size)
    return {
        "cache": cache,
        "cache_built_engines": cache_built_engines,
        "reuse_cached_engines": reuse_cached_engines,
    }


def want_cache(engine_cache_dir: Any, engine_cache_size: Any, custom_engine_cache: Any) -> None:
    """Raises the errors of ``cache_options`` and ``DiskEngineCache``."""
    if custom_engine_cache is not None and not isinstance(custom_engine_cache, BaseEngineCache):
        raise InvalidArgumentError(
            "[cache] custom_engine_cache: want a regraft.cache.BaseEngineCache, have "
            f"{type(custom_engine_cache).__name__}"
        )
    want_size(engine_cache_size)
    if engine_cache_dir is not None:
        path_text(engine_cache_dir)


# One object per folder: what it logs once is then logged once.
@functools.lru_cache(maxsize=64)
def _disk_cache(engine_cache_dir: str, engine_cache_size: int) -> DiskEngineCache:
    return DiskEngineCache(engine_cache_dir, engine_cache_size)
