"""How much the library says, in the words of Torch-TensorRT; Python's logger "regraft" says it."""

from __future__ import annotations

import logging as _logging
from enum import IntEnum
from types import TracebackType
from typing import ClassVar

_logger = _logging.getLogger("regraft")


class Level(IntEnum):
    """Levels of messages, those of Python's ``logging``."""

    INTERNAL_ERROR = _logging.CRITICAL
    ERROR = _logging.ERROR
    WARNING = _logging.WARNING
    INFO = _logging.INFO
    DEBUG = _logging.DEBUG
    GRAPH = _logging.DEBUG - 5


def get_reportable_log_level() -> int:
    """The level from which messages are kept."""
    return _logger.getEffectiveLevel()


def set_reportable_log_level(level: int) -> None:
    """Keeps messages from this level on."""
    _logger.setLevel(int(level))


def get_is_colored_output_on() -> bool:
    """Whether messages are coloured: never; a handler of Python's ``logging`` may."""
    return False


def log(level: int, msg: str) -> None:
    """Writes a message."""
    _logger.log(int(level), "%s", msg)


class _AtLevel:
    """Within it, messages from a level on are kept."""

    level: ClassVar[Level]

    def __enter__(self) -> None:
        self._before = _logger.level
        _logger.setLevel(int(self.level))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _logger.setLevel(self._before)


class internal_errors(_AtLevel):  # noqa: N801 - names to match.
    level = Level.INTERNAL_ERROR


class errors(_AtLevel):  # noqa: N801
    level = Level.ERROR


class warnings(_AtLevel):  # noqa: N801
    level = Level.WARNING


class info(_AtLevel):  # noqa: N801
    level = Level.INFO


class debug(_AtLevel):  # noqa: N801
    level = Level.DEBUG


class graphs(_AtLevel):  # noqa: N801
    level = Level.GRAPH
