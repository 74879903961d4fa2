"""Modules that are changed while they run: an engine that follows them exactly."""

from regraft.mutable.module import MutableModule

__all__ = ["MutableModule"]
