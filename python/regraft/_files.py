"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from regraft._want import path_text
from regraft.errors import IoError, MissingFileError


@contextmanager
def replacing(path: str | bytes | os.PathLike[Any]) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of another at the end; on any error, that one stays.

    Raises:
        MissingFileError: The folder does not exist.
        IoError: The operating system refused.
    """
    target = os.path.abspath(path_text(path))
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
