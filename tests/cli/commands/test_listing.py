"""`bts-tune list`: the runs of a folder, in a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.testing.runs import make_baselines, make_curve, make_run, make_trial, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_runs_are_listed_with_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("results/old"), make_baselines(epochs=2), make_run(run="old"))
    begun = make_trial("first", status="interrupted", rows=make_curve("first", 2, 0.4), epochs=9)
    new = make_run(run="new", status="interrupted", created="2025-01-01T10:00:00+00:00", profile="demo")
    write_run(Path("results/new"), [begun, make_trial("b", index=1, status="waiting")], new)
    Path("results/broken").mkdir()
    Path("results/broken/run.json").write_text("no json")
    assert main(["list"]) == 0
    header, first, go_on, second, report, note, problem = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["run", "space"]
    assert first.split()[:6] == ["new", "extended", "demo", "interrupted", "0/2", "first"]
    assert go_on.strip() == "bts-tune --resume results/new"
    assert second.split()[0] == "old"
    assert "unetplusplus-b5" in second
    assert report.strip() == "bts-tune report results/old"
    assert note.startswith("~ the best trial so far")
    assert problem.startswith("results/broken/run.json: cannot be read")


def test_a_folder_without_runs_and_one_that_is_not_there(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    Path("empty").mkdir()
    assert main(["list", "--results", "empty"]) == 0
    assert capsys.readouterr().out == "empty: holds no runs.\n"
    assert "nowhere: cannot be read: No such file or directory." in refused("list", "--results", "nowhere")
