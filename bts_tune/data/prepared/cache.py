"""The cache of prepared datasets and of what checking them showed: one folder an entry, named by its key.

    <cache>/<key>/            an entry: meta.json and arrays, see `prepare` and `scan_cache`
    <cache>/.<key>.<random>/  an entry that is being built or removed, or was left by a kill
    <cache>/.locks/<key>      held by the process that builds the entry

Other users may read a cache that was named, as far as its owner's umask allows; what it lacks is kept in their own.

A process that has an entry open holds a shared lock (`flock`) on its meta.json, so that clearing the cache does not
remove what a run still needs. The lock ends with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import platformdirs
from filelock import FileLock, Timeout

from bts_tune.errors import DataError
from bts_tune.paths import user_path

META_FILE = "meta.json"
ENVIRONMENT_VARIABLE = "BTS_TUNE_CACHE"

_LOCKS = ".locks"
_KEY = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.([0-9a-f]{32})\..+")


@dataclass(frozen=True)
class CacheEntry:
    """One prepared dataset in the cache, or what checking one showed.

    Attributes:
        folder: where it is.
        size: bytes on disk.
        modified: when it was built, in seconds since the epoch.
        dataset: folder that it was made from; empty where the entry is broken.
        preprocessing: fields of its `PreprocessingPart`; empty where the entry is broken, or holds no images.
        holds: what it holds instead of images; empty where it holds images, or is broken.
    """

    folder: Path
    size: int
    modified: float
    dataset: str
    preprocessing: dict[str, Any]
    holds: str

    @property
    def key(self) -> str:
        """What names the entry."""
        return self.folder.name


@dataclass(frozen=True)
class Cleared:
    """What `clear` did: entries removed, bytes freed, entries left because something uses them."""

    removed: int
    freed: int
    in_use: int


class Lease:
    """A shared lock on an entry, which keeps `clear` away from it until the lease is closed or forgotten.

    Raises:
        OSError: the entry's meta.json cannot be read, or the entry is just being removed.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = (folder / META_FILE).open("rb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise
        except OSError:
            pass  # A file system without locks; nobody can hold one there.

    def read(self) -> bytes:
        """Return the content of meta.json."""
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def default_cache() -> Path:
    """Return the folder named by the environment variable `BTS_TUNE_CACHE`, else one in the user's cache folder."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return user_path(named, ENVIRONMENT_VARIABLE) if named else own_cache()


def own_cache() -> Path:
    """Return the cache in this user's cache folder, whatever `BTS_TUNE_CACHE` says."""
    return platformdirs.user_cache_path("bts-tune") / "prepared"


def places(cache: Path | None = None) -> list[Path]:
    """Return the folders to look for an entry in; what is missing in all of them is kept in the last.

    That is the cache, and this user's own one beside it where the cache is somebody else's and cannot be written to.

    Args:
        cache: folder of the cache; by default `default_cache()`.
    """
    # Absolute, because the processes that open an entry may work in another folder.
    cache = (default_cache() if cache is None else Path(cache)).absolute()
    for folder in (cache, cache / _LOCKS):
        if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
            return [cache, own_cache().absolute()]
    return [cache]


def entries(cache: Path) -> list[CacheEntry]:
    """Return the entries of a cache, the newest first; none where the folder does not exist."""
    found = []
    for folder in _folders(cache):
        if not _KEY.fullmatch(folder.name):
            continue
        meta: Any = None
        with contextlib.suppress(OSError, ValueError):
            meta = json.loads((folder / META_FILE).read_bytes())
        meta = meta if isinstance(meta, dict) else {}
        preprocessing = meta.get("preprocessing")
        with contextlib.suppress(FileNotFoundError):
            found.append(
                CacheEntry(
                    folder=folder,
                    size=_size(folder),
                    modified=folder.stat().st_mtime,
                    dataset=str(meta.get("dataset", "")),
                    preprocessing=preprocessing if isinstance(preprocessing, dict) else {},
                    holds=str(meta.get("holds", "")),
                )
            )
    return sorted(found, key=lambda entry: entry.modified, reverse=True)


def size(cache: Path) -> int:
    """Return the bytes that a cache takes on disk, leftovers of killed builds included."""
    return sum(_size(folder) for folder in _folders(cache) if _owned(folder))


def clear(cache: Path) -> Cleared:
    """Remove the entries that nothing uses, and what killed builds left; other files in the folder are not touched.

    Raises:
        DataError: something cannot be removed.
    """
    removed = freed = in_use = 0
    try:
        for folder in _folders(cache):
            if not _owned(folder):
                continue
            entry = _KEY.fullmatch(folder.name) is not None
            taken = _size(folder)
            if _remove_unused(cache, folder):
                removed += entry
                freed += taken
            else:
                in_use += entry
    except OSError as error:
        raise DataError(f"{error.filename or cache}: cannot be removed: {error.strerror}.") from None
    return Cleared(removed, freed, in_use)


@contextlib.contextmanager
def building(cache: Path, key: str) -> Iterator[None]:
    """Hold the right to build the entry `key`; wait where another process has it.

    What a killed build of the same entry left is removed first.
    """
    with _build_lock(cache, key):
        for folder in cache.glob(f".{key}.*"):
            shutil.rmtree(folder, ignore_errors=True)
        yield


def temporary_folder(cache: Path, key: str) -> Path:
    """Return a new folder in which to build the entry `key` before it is renamed."""
    folder = cache / f".{key}.{secrets.token_hex(8)}"
    # A cache that was named may be meant for several users; whether it is, their umask and its folder say.
    folder.mkdir(mode=0o700 if cache.absolute() == own_cache().absolute() else 0o777)
    return folder


def remove(folder: Path) -> None:
    """Remove an entry: it is gone at once, also for a process that looks while its files are being deleted."""
    doomed = temporary_folder(folder.parent, folder.name)
    folder.rename(doomed / folder.name)
    shutil.rmtree(doomed)


def _build_lock(cache: Path, key: str, timeout: float = -1) -> FileLock:
    locks = cache / _LOCKS
    if not locks.is_dir():
        locks.mkdir(parents=True, exist_ok=True)
        shutil.copymode(cache, locks)  # whoever may write to the cache may lock an entry
    return FileLock(locks / key, timeout=timeout)


def _remove_unused(cache: Path, folder: Path) -> bool:
    """Remove an entry or a leftover unless it is being built or read; return whether it was removed."""
    unfinished = _UNFINISHED.fullmatch(folder.name)
    key = unfinished.group(1) if unfinished else folder.name
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_build_lock(cache, key, timeout=0))
        except Timeout:
            return False
        if unfinished:
            shutil.rmtree(folder)
            return True
        with contextlib.suppress(FileNotFoundError):
            meta = held.enter_context((folder / META_FILE).open("rb"))
            try:
                fcntl.flock(meta, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        remove(folder)
        return True


def _folders(cache: Path) -> list[Path]:
    try:
        return sorted(path for path in cache.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _owned(folder: Path) -> bool:
    return bool(_KEY.fullmatch(folder.name) or _UNFINISHED.fullmatch(folder.name))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
