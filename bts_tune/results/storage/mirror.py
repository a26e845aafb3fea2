"""A run's folder, mirrored to a place elsewhere and brought back: `bts-tune push` and `bts-tune pull`.

The files lie there as they lie in the run's folder, and can be used from there. `mirror.json` is written last and says
what they are; whoever brings them back compares every hash. Which of two states of a run is the newer one, its record
tells, whose files only grow.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from bts_tune.errors import RunError
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import RunFolder, holds_run
from bts_tune.results.storage.remote import RemoteFiles, require_writable
from bts_tune.text import quoted

FORMAT = 1
MIRROR = "mirror.json"
_PART = "mirror.part.json"

_RECORD = ("trials.jsonl", "rows.jsonl")
# Of this machine alone: logs that nothing reads back, locks, and what is being written.
_LEFT_OUT_FOLDERS = ("ray",)
_LEFT_OUT = ("run.lock", "owner.json", ".shared")

# To keep count of smaller files takes as long as to send them again.
_COUNTED = 2**20

Say = Callable[[str], None]

Files = dict[str, tuple[int, str]]
"""Bytes and SHA-256 of files, by their path in the run's folder."""


@dataclass(frozen=True)
class Mirrored:
    """What was done.

    Attributes:
        place: where the run is now, in words.
        uri: the same, for a command.
        moved: files that had to be sent, or brought.
        size: their bytes.
        files: of the whole run.
    """

    place: str
    uri: str
    moved: int
    size: int
    files: int


def push(folder: RunFolder, uri: str, *, force: bool = False, say: Say = lambda text: None) -> Mirrored:
    """Mirror a run to a folder of its name elsewhere. What is there already is not sent again.

    Args:
        folder: the run; nobody may be writing it.
        uri: see `remote.ALLOWED`.
        force: write over a state of the run that this one does not follow from.
        say: is told of each large file.

    Raises:
        RunError: the run goes on just now, the place cannot be written, or holds a newer state of the run.
    """
    require_writable(uri, "push")
    with folder.locked():
        place = RemoteFiles(uri) / folder.path.resolve().name
        if place.is_local and Path(str(place)).resolve().is_relative_to(folder.path.resolve()):
            raise RunError(f"push {uri}: is where the run is, or within it; name another place.")
        files = _hashed(folder.path)
        before = _read_index(place, MIRROR)
        if before is not None and not force and not _follows(folder.path, before):
            raise _is_newer(str(place), str(folder))
        there = place.files()
        sent = {**(before or {}), **(_read_index(place, _PART) or {})}
        waiting = {name for name, what in files.items() if sent.get(name) != what or there.get(name) != what[0]}
        if not waiting and before == files:
            return Mirrored(str(place), place.uri, 0, 0, len(files))
        done: Files = {name: what for name, what in files.items() if name not in waiting}
        for name in sorted(waiting):
            size, digest = files[name]
            content = (folder.path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise RunError(f"{folder.path / name}: changes while it is sent; push again when nothing writes it.")
            place.write(name, content)
            done[name] = files[name]
            if size > _COUNTED:
                say(f"sent {name}")
                place.write(_PART, _index(folder.path.name, done))
        place.write(MIRROR, _index(folder.path.name, files))
        place.remove(_PART)
        for name in (before or {}).keys() - files.keys():
            place.remove(name)
    return Mirrored(str(place), place.uri, len(waiting), sum(files[name][0] for name in waiting), len(files))


def pull(uri: str, target: Path, *, force: bool = False, say: Say = lambda text: None) -> Mirrored:
    """Bring a run back that `push` mirrored. Its folder appears, or changes, when all of it is there.

    Args:
        uri: the run's folder there.
        target: the run's folder here; what it has already is not brought again.
        force: write over a state of the run that the one there does not follow from.
        say: is told of each large file.

    Raises:
        RunError: there is no run, it is not what was pushed; or `target` holds a newer state of it, or is or holds the
            working folder.
    """
    home = target.resolve()  # '.' has no name, and a link leads to the folder that is meant
    if Path.cwd().is_relative_to(home):
        raise RunError(
            f"pull: {target} is or holds the working folder, which would be moved away; name another folder, or call "
            "it from elsewhere."
        )
    place = RemoteFiles(uri)
    files = _read_index(place, MIRROR)
    if files is None:
        raise RunError(f"pull {place}: holds no run that was pushed; {_runs_in(place)}.")
    is_run = holds_run(target)
    if target.exists() and not is_run and not (target.is_dir() and not any(target.iterdir())):
        raise RunError(f"{target}: exists already, and is not a run; name another folder.")
    with contextlib.ExitStack() as held:
        own: Files = {}
        if is_run:
            held.enter_context(RunFolder.open(target).locked())
            own = _hashed(target)
            if all(own.get(name) == what for name, what in files.items()):
                return Mirrored(str(target), str(target), 0, 0, len(files))
        # Of this name, so that a pull that was cut off goes on.
        new = home.with_name(f".{home.name}.pull")
        moved = 0, 0
        for name in [one for one in _RECORD if one in files]:
            moved = _plus(moved, _bring(name, files[name], place, new, target, own, say))
        earlier = {name: what for name, what in own.items() if name in _RECORD}
        if not force and not _follows(new, earlier):
            shutil.rmtree(new, ignore_errors=True)  # a run that had no trial yet has left none
            raise _is_newer(str(target), str(place))
        for name in sorted(files.keys() - set(_RECORD)):
            moved = _plus(moved, _bring(name, files[name], place, new, target, own, say))
        _take_place(new, home, files, own)
    return Mirrored(str(target), str(target), *moved, len(files))


def _bring(
    name: str,
    what: tuple[int, str],
    place: RemoteFiles,
    new: Path,
    target: Path,
    own: Files,
    say: Say,
) -> tuple[int, int]:
    """Write a file into the new folder, if it is not there; return how many were brought for it, and their bytes."""
    file = new / name
    if file.is_file() and _what(file) == what:
        return 0, 0
    if own.get(name) == what:
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target / name, file)
        return 0, 0
    content = place.read(name)
    if content is None or (len(content), hashlib.sha256(content).hexdigest()) != what:
        raise RunError(
            f"pull {place}: {name} is not the file that was pushed; a push is under way or was cut off, or the file is "
            "damaged: pull again after a push that ended well."
        )
    try:
        write_atomically(file, content)
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror or error}.") from None
    if what[0] > _COUNTED:
        say(f"brought {name}")
    return 1, what[0]


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _take_place(new: Path, target: Path, files: Files, own: Files) -> None:
    """Put the new folder in the place of the old one; what it alone has stays, but for models and Ray's state."""
    for file in [path for path in new.rglob("*") if path.is_file()]:
        if file.relative_to(new).as_posix() not in files:  # of another pull that was cut off
            file.unlink()
    for name in own.keys() - files.keys():
        if not name.startswith(("models/", "samples/")):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target / name, new / name)
    if target.exists():
        old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(target)


def _hashed(folder: Path) -> Files:
    """Return what each file of a run is, but for those of this machine alone."""
    found = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        left_out = path.parts[0] in _LEFT_OUT_FOLDERS or path.name in _LEFT_OUT or path.name in (MIRROR, _PART)
        if not left_out and file.is_file() and not (path.name.startswith(".") and path.name.endswith(".part")):
            found[path.as_posix()] = _what(file)
    return found


def _what(file: Path) -> tuple[int, str]:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return file.stat().st_size, digest


def _follows(folder: Path, earlier: Mapping[str, tuple[int, str]]) -> bool:
    """Whether the record of a run begins with what it was in another state of it."""
    for name in _RECORD:
        if name in earlier:
            size, digest = earlier[name]
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            if len(content) < size or hashlib.sha256(content[:size]).hexdigest() != digest:
                return False
    return True


def _is_newer(there: str, here: str) -> RunError:
    return RunError(
        f"{there}: holds a newer state of the run than {here}, or another run of its name; --force writes over it."
    )


def _index(run: str, files: Files) -> bytes:
    content = {
        "format": FORMAT,
        "run": run,
        "pushed": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in sorted(files.items())},
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _read_index(place: RemoteFiles, name: str) -> Files | None:
    """Return what an index says; None where there is none.

    Raises:
        RunError: it is none that this version reads.
    """
    content = place.read(name)
    if content is None:
        return None
    try:
        index: Any = json.loads(content)
        if index["format"] != FORMAT:
            raise ValueError
        files = {str(path): (int(what["size"]), str(what["sha256"])) for path, what in index["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RunError(f"{place}: its {name} is none that this version of bts-tune reads.") from None
    for path in files:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise RunError(f"{place}: its {name} names a file outside of the run, {quoted(path)}.")
    return files


def _runs_in(place: RemoteFiles) -> str:
    """Return what there is instead, in words."""
    found = sorted(path.rpartition("/")[0] for path in place.files() if path.endswith(f"/{MIRROR}"))
    return f"it has the runs {', '.join(found[:10])}, so add the name of one" if found else "push one there first"
