"""An actor beside the driver: it hands out the files that a node lacks, and keeps what trials bring back.

So a cluster needs no file system that its nodes share. What it hands out goes through Ray's object store, put there
once, in parts; what it keeps is written as a trial itself would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.model_files import CARD, LAST, WEIGHTS

_PART = 64 * 2**20

MODEL_FILES = (WEIGHTS, CARD)


class Storage:
    """Use it as a Ray actor.

    Args:
        handed_out: the files, and the folders of files, that any process of the run may have.
    """

    def __init__(self, handed_out: Sequence[str]) -> None:
        self._handed_out = frozenset(handed_out)
        self._parts: dict[str, dict[str, list[Any]]] = {}

    def parts(self, path: str) -> dict[str, list[Any]]:
        """Return references to the parts of a file, or of each file of a folder, by name.

        Raises:
            PermissionError: it is none that is handed out.
        """
        if path not in self._handed_out:
            raise PermissionError(f"{path}: is no file of this run")
        if path not in self._parts:
            whole = Path(path)
            files = sorted(file for file in whole.iterdir() if file.is_file()) if whole.is_dir() else [whole]
            self._parts[path] = {file.name: _put(file) for file in files}
        return self._parts[path]

    def files(self, folder: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return those files of a trial's model folder that there are, by name."""
        found = {}
        for name in names:
            file = _file(folder, name)
            if file.is_file():
                found[name] = file.read_bytes()
        return found

    def keep(self, folder: str, contents: Mapping[str, bytes], digests: Mapping[str, str]) -> str:
        """Write files of a trial into its model folder; return why they cannot be written, or an empty text.

        The last state comes last: an epoch that it holds has its model.
        """
        for name in sorted(contents, key=[*MODEL_FILES, LAST].index):
            if hashlib.sha256(contents[name]).hexdigest() != digests[name]:
                raise ValueError(f"{folder}/{name} was damaged on its way")
            try:
                write_atomically(_file(folder, name), contents[name])
            except OSError as error:
                return f"{error.filename or name}: {error.strerror or error}"
        return ""


def _file(folder: str, name: str) -> Path:
    if name not in (*MODEL_FILES, LAST):
        raise PermissionError(f"{folder}/{name}: is no file of a trial")
    return Path(folder) / name


def _put(file: Path) -> list[Any]:
    import ray

    references = []
    with file.open("rb") as content:
        while part := content.read(_PART):
            references.append(ray.put(part))
    return references
