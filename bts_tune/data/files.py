"""Reading the files of a dataset that nobody vouches for: only regular files, and none without bound."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from bts_tune.errors import DataError

MAX_BYTES = 2**30
"""Largest file that is read whole. An image of the largest size takes less, and so do the annotations of a million."""


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        DataError: it cannot be read, is no regular file (a pipe would block for ever), or has more than `MAX_BYTES`.
    """
    try:
        # Without O_NONBLOCK the opening itself of a named pipe waits for a writer.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is not a regular file.")
    raise DataError(f"{path}: has {status.st_size} bytes; at most {MAX_BYTES} are allowed.")


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: see `open_file`.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def leads_out(root: Path, path: Path) -> bool:
    """Return whether links make `path`, which lies below `root` by its name, lie somewhere else."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a loop, which lead nowhere
        return False
