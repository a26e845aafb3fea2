"""`bts-tune pull`: a mirrored run comes back, and a mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.errors import EXIT_OK, EXIT_USAGE
from bts_tune.testing.runs import make_baselines, make_run, write_run


@pytest.fixture
def there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder that holds the mirror of a run."""
    folder = write_run(tmp_path / "sent" / "mine", make_baselines(), make_run())
    assert main(["push", str(folder.path), str(tmp_path / "there")]) == EXIT_OK
    capsys.readouterr()
    return tmp_path / "there"


def test_a_run_comes_back_under_its_name_or_where_it_is_told(there: Path, tmp_path: Path) -> None:
    assert main(["pull", str(there / "mine"), "--results", str(tmp_path / "results")]) == EXIT_OK
    assert main(["pull", str(there / "mine"), str(tmp_path / "other")]) == EXIT_OK
    for back in (tmp_path / "results" / "mine", tmp_path / "other"):
        assert (back / "rows.jsonl").read_bytes() == (tmp_path / "sent" / "mine" / "rows.jsonl").read_bytes()


def test_a_mistake_is_one_sentence(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / "inner")
    for arguments, said in [
        ([str(there)], "it has the runs mine, so add the name of one"),
        ([str(there / "mine"), str(there)], "exists already, and is not a run"),
        ([str(there / "mine"), "."], "pull: . is or holds the working folder"),
        ([str(there / "mine"), ".."], "pull: .. is or holds the working folder"),
    ]:
        assert main(["pull", *arguments]) == EXIT_USAGE
        (sentence,) = capsys.readouterr().err.splitlines()
        assert said in sentence
