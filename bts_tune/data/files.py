"""Reading the files of a dataset that nobody vouches for: only regular files, none without bound, none elsewhere."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from io import BufferedReader
from pathlib import Path

from bts_tune.errors import DataError

MAX_BYTES = 2**30
"""Largest file that is read whole. An image of the largest size takes less, and so do the annotations of a million."""

_POINTERS = {b"version https://git-lfs.github.com/spec/": "git lfs pull", b"/annex/objects/": "git annex get ."}
"""How a file begins that stands for one that was not fetched, and what fetches it."""


class OutsideError(DataError):
    """A file was not opened as links take it out of the folder that it lies in by its name.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Links:
    """Tells which files links take out of a folder. Each folder within is looked at once.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._target = root.resolve()
        self._folders: dict[Path, bool] = {}

    def lead_out(self, path: Path) -> bool:
        """Return whether links make `path`, which lies below the folder by its name, lie somewhere else."""
        try:
            outside = self._folders.get(path.parent)
            if outside is None:
                outside = self._folders[path.parent] = not path.parent.resolve().is_relative_to(self._target)
            # What is no link lies where its folder does.
            if not path.is_symlink():
                return outside
            return not path.resolve().is_relative_to(self._target)
        except (OSError, RuntimeError):  # links in a loop, which lead nowhere
            return False


_LINKS: ContextVar[Links | None] = ContextVar("folder that files may lie in", default=None)


@contextlib.contextmanager
def files_below(root: Path) -> Iterator[None]:
    """Let `open_file` and `read_file` refuse files that links take out of a folder, also in `parallel_map`.

    Readers open files before anybody has looked at where they lie, so that the refusal is here and not in each.
    """
    token = _LINKS.set(Links(root))
    try:
        yield
    finally:
        _LINKS.reset(token)


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        DataError: it cannot be read, is no regular file (a pipe would block for ever), has more than `MAX_BYTES`, or is
            what Git LFS or git-annex leave in place of a file that was not fetched.
        OutsideError: links take it out of the folder that `files_below` names.
    """
    links = _LINKS.get()
    if links is not None and links.lead_out(path):
        raise OutsideError(path, f"{path}: is, or lies, {behind_links(links.root)}")
    try:
        # Without O_NONBLOCK the opening itself of a named pipe waits for a writer.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
        cure = _not_fetched(file, path)
        if cure is None:
            return file
        file.close()
        raise DataError(f"{path}: stands for a file that was not fetched; run '{cure}' in the dataset's repository.")
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is not a regular file.")
    raise DataError(f"{path}: has {status.st_size} bytes; at most {MAX_BYTES} are allowed.")


def _not_fetched(file: BufferedReader, path: Path) -> str | None:
    """Return the command that fetches what a file stands for; None where it stands for itself."""
    try:
        start = file.peek(max(map(len, _POINTERS)))
    except OSError as error:
        file.close()
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    return next((cure for pointer, cure in _POINTERS.items() if start.startswith(pointer)), None)


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


def target_of(path: Path) -> Path:
    """Return where a link leads to; the link itself where it leads nowhere, as one to itself does."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def leads_out(root: Path, path: Path) -> bool:
    """Return whether links make `path`, which lies below `root` by its name, lie somewhere else."""
    return Links(root).lead_out(path)


def behind_links(root: Path, examples: str = "", folder: str = "the dataset's folder") -> str:
    """Return the end of a sentence on files that are not opened as links lead out of the folder that they lie in."""
    return (
        f"behind a link that leads out of {folder}{examples}, and what lies there is not opened; "
        f"copy the files themselves: cp -rL {shlex.quote(str(root))} COPY."
    )
