from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts_tune.results.record.files import write_atomically


@pytest.mark.parametrize("content", ["text: é", b"bytes", memoryview(b"view")])
def test_the_whole_content_is_written(tmp_path: Path, content: str | bytes | memoryview) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_source: object, _target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
