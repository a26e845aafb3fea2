from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bts_tune.experiment.execution.files.storage import MODEL_FILES, Storage
from bts_tune.training.checkpoint import CARD, LAST, WEIGHTS


def digests(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_what_comes_back_is_kept_and_can_be_had_again(tmp_path: Path) -> None:
    storage, folder = Storage([]), tmp_path / "models" / "a"
    assert storage.files(str(folder), [LAST]) == {}
    contents = {LAST: b"state", CARD: b"{}", WEIGHTS: b"weights"}
    assert storage.keep(str(folder), contents, digests(contents)) == ""
    assert storage.files(str(folder), [LAST]) == {LAST: b"state"}
    assert storage.files(str(folder), MODEL_FILES) == {CARD: b"{}", WEIGHTS: b"weights"}
    assert sorted(path.name for path in folder.iterdir()) == sorted(contents)


def test_what_was_damaged_on_its_way_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="damaged on its way"):
        Storage([]).keep(str(tmp_path / "a"), {LAST: b"state"}, digests({LAST: b"other"}))
    assert not (tmp_path / "a" / LAST).exists()


def test_why_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reason = Storage([]).keep(str(tmp_path / "file" / "a"), {LAST: b"state"}, digests({LAST: b"state"}))
    assert "Not a directory" in reason


def test_nothing_else_is_handed_out_or_written(tmp_path: Path) -> None:
    storage = Storage([str(tmp_path / "data")])
    with pytest.raises(PermissionError):
        storage.parts(str(tmp_path / "other"))
    for name in ("run.json", "../last.pt"):
        with pytest.raises(PermissionError):
            storage.files(str(tmp_path), [name])
        with pytest.raises((PermissionError, ValueError)):
            storage.keep(str(tmp_path), {name: b""}, digests({name: b""}))
