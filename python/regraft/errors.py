"""The errors of Regraft: one base class, and the built-in that fits beside it."""

from __future__ import annotations


class Error(Exception):
    """Base of every error Regraft raises.

    Attributes:
        stage: The part that failed, a word of the vocabulary (``"refit"``, ``"program"``, ...).
        code: What went wrong (``"mismatch"``, ``"corrupt"``, ``"state"``, ...).
    """

    stage: str = ""
    code: str = ""


class InvalidArgumentError(Error, ValueError):
    """A value that was passed is not usable."""


class NotFoundError(Error, LookupError):
    """A file, name or entry does not exist."""


class MissingFileError(NotFoundError, FileNotFoundError):
    """A file does not exist."""


class UnsupportedError(Error, NotImplementedError):
    """Well formed, but outside what this build can do."""


class CorruptError(Error, ValueError):
    """Bytes that contradict themselves or fail their checksum."""


class VersionError(Error, ValueError):
    """Bytes of a format version this build does not read."""


class IoError(Error, OSError):
    """The operating system refused a read or write."""


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed, or a size passes a stated limit."""


class MismatchError(Error, ValueError):
    """A shape, dtype or name differs from what the engine declares."""


class StateError(Error, RuntimeError):
    """The call is not allowed now (stripped or immutable engine, ...)."""


class InternalError(Error, RuntimeError):
    """A broken invariant of Regraft itself: please report it."""


_CLASSES: dict[str, type[Error]] = {
    "invalid_argument": InvalidArgumentError,
    "not_found": NotFoundError,
    "unsupported": UnsupportedError,
    "corrupt": CorruptError,
    "version": VersionError,
    "io": IoError,
    "out_of_memory": OutOfMemoryError,
    "mismatch": MismatchError,
    "state": StateError,
    "internal": InternalError,
}


def make_error(code: str, stage: str, message: str) -> Error:
    """The exception for an error of the core; called by the extension."""
    cls = _CLASSES.get(code, InternalError)
    if code == "not_found" and stage == "file":
        cls = MissingFileError
    error = cls(message)
    error.stage = stage
    error.code = code
    return error
