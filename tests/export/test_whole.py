from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.export.whole import whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_what_stands_beside_it(tmp_path: Path) -> None:
    with whole(tmp_path / "new" / "a.txt") as path:
        path.write_text("a")
        path.with_name("a.txt.json").write_text("b")
        assert names(tmp_path / "new") != ["a.txt", "a.txt.json"]
    assert names(tmp_path / "new") == ["a.txt", "a.txt.json"]
    assert (tmp_path / "new" / "a.txt").read_text() == "a"


def test_a_folder(tmp_path: Path) -> None:
    with whole(tmp_path / "a") as path:
        path.mkdir()
        (path / "inner").write_text("x")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "inner").read_text() == "x"


def test_what_breaks_off_leaves_nothing_not_even_a_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "new" / "a") as path:  # noqa: PT012
        path.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.parametrize("taken", ["a.txt", "a.txt.json"])
def test_what_is_there_stays(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(RunError, match=f"{taken}: exists already"), whole(tmp_path / "a.txt") as path:  # noqa: PT012
        path.write_text("a")
        path.with_name("a.txt.json").write_text("b")
    assert names(tmp_path) == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_link_that_leads_nowhere_is_something_too(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="exists already"), whole(tmp_path / "a") as path:
        path.write_text("a")
    assert not (tmp_path / "elsewhere").exists()


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/a: cannot be written: .*\.$"), whole(tmp_path / "file" / "a") as path:
        path.write_text("a")
