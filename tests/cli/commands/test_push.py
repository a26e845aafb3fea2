"""`bts-tune push`: a run goes to another folder, and a mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.errors import EXIT_OK, EXIT_USAGE
from bts_tune.testing.runs import make_baselines, make_run, write_run


@pytest.fixture
def results(tmp_path: Path) -> str:
    return str(write_run(tmp_path / "results" / "mine", make_baselines(), make_run()).path.parent)


def test_a_run_is_sent_once(results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "there"
    assert main(["push", "mine", str(there), "--results", results]) == EXIT_OK
    assert f"Bring it back with: bts-tune pull {there}/mine" in capsys.readouterr().out
    assert (there / "mine" / "rows.jsonl").read_bytes() == (Path(results) / "mine" / "rows.jsonl").read_bytes()
    assert main(["push", "mine", str(there), "--results", results]) == EXIT_OK
    assert "as it was" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine", "ftp://host/x"], "push ftp://host/x: the scheme ftp:// is not"),
        (["nobody", "there"], "nobody: no such run"),
    ],
)
def test_a_mistake_is_one_sentence(
    results: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["push", *arguments, "--results", results]) == EXIT_USAGE
    (sentence,) = capsys.readouterr().err.splitlines()
    assert said in sentence
