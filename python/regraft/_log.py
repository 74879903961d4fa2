"""Messages of the core go to the logger "regraft"."""

from __future__ import annotations

import atexit
import logging

from regraft import _regraft

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)
_logger = logging.getLogger("regraft")


def _log(level: int, message: str) -> None:
    _logger.log(_LEVELS[level], "%s", message)


def install() -> None:
    """Called once, when the package is imported."""
    _regraft.set_log_callback(_log)
    # No message may reach an interpreter that is going down.
    atexit.register(_regraft.set_log_callback, None)
