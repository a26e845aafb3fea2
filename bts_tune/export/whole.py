"""Files and folders that appear under their names when they are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bts_tune.errors import RunError


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; at the end it stands at `target`, or nothing does.

    Further files may be written beside it, if their names begin with its name. They appear before it does, so that
    whoever sees it has them all.

    Raises:
        RunError: something is there already, or it cannot be written.
    """
    _refuse_existing(target)
    made = not target.parent.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        try:
            yield work / target.name
            _place(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):  # it is not empty: all went well
                    target.parent.rmdir()
    except OSError as error:
        raise RunError(f"{target}: cannot be written: {error.strerror or error}.") from None


def _place(work: Path, target: Path) -> None:
    entries = sorted(work.iterdir(), key=lambda entry: entry.name == target.name)
    for entry in entries:
        _refuse_existing(target.with_name(entry.name))
        for file in [entry] if entry.is_file() else [file for file in entry.rglob("*") if file.is_file()]:
            with file.open("rb") as written:
                os.fsync(written.fileno())
    placed = []
    try:
        for entry in entries:
            entry.rename(target.with_name(entry.name))
            placed.append(target.with_name(entry.name))
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise RunError(f"{target}: exists already and is not overwritten; remove it, or choose another --output.")
