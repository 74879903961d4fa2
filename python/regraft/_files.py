"""Files that are written whole or not at all, and archives that may be broken."""

from __future__ import annotations

import errno
import lzma
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from regraft._want import path_text
from regraft.errors import CorruptError, Error, IoError, MissingFileError

# What readers of archives, JSON and tensors raise on bytes that nobody wrote on purpose; a
# RuntimeError is also too deep a nesting, or a kind of compression that there is not.
_BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, lzma.LZMAError, struct.error, zipfile.BadZipFile),
    zlib.error,
)


@contextmanager
def reading(description: str) -> Iterator[None]:
    """Turns what broken archives raise into one error.

    Raises:
        CorruptError: Something was raised that says so.
        IoError: The operating system refused.
    """
    try:
        yield
    except Error:
        raise
    except OSError as error:
        # A place in front of the file's begin; decompressors have no number.
        if error.errno not in (None, errno.EINVAL):
            raise IoError(f"{description}: cannot read: {error.strerror}") from error
        raise CorruptError(f"{description}: {error}") from error
    except _BROKEN as error:
        raise CorruptError(f"{description}: {type(error).__name__}: {str(error)[:300]}") from error


@contextmanager
def replacing(path: str | bytes | os.PathLike[Any]) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of another at the end; on any error, that one stays.

    A link stays, too: what it points to is replaced.

    Raises:
        MissingFileError: The folder does not exist.
        IoError: The operating system refused, or the path is a device, a pipe or a socket.
    """
    target = os.path.realpath(path_text(path))
    _want_replaceable(target)
    try:
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".regraft-")
    except FileNotFoundError as error:
        raise MissingFileError(f"[file] {target}: the folder does not exist") from error
    except OSError as error:
        raise IoError(f"[file] {target}: cannot write: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        os.unlink(temporary)
        raise IoError(f"[file] {target}: cannot write: {error.strerror or error}") from error
    except BaseException:
        os.unlink(temporary)
        raise


def _want_replaceable(target: str) -> None:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise IoError(f"[file] {target}: cannot write: {error.strerror}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # Folders are refused at the end.
        raise IoError(f"[file] {target}: cannot write: not a regular file")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
