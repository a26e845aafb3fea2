"""`bts-tune report`: the ranking on the terminal, and every file that was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.testing.runs import make_baselines, make_run, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_run_that_is_not_there_is_refused(refused: Callable[..., str]) -> None:
    assert "nothing: no such run; name a folder with a run.json in it, or a run in results/" in refused(
        "report", "nothing"
    )


def test_the_ranking_and_the_files_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(Path("elsewhere/run"), make_baselines(epochs=2), make_run()).path
    assert main(["report", "run", "--results", "elsewhere"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert [line.split()[1] for line in lines if line.split()[:1] in (["1"], ["2"], ["3"])] == [
        "unetplusplus-b5",
        "unet-b0",
        "unet-b0-frozen",
    ]
    printed = [Path(line) for line in lines if line.startswith("elsewhere/run/")]
    assert {path.name for path in printed} >= {"report.html", "report.md", "leaderboard.csv", "epochs.csv"}
    assert all(path.is_file() for path in printed)
    assert folder / "figures" / "learning_curves.png" in printed
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == captured.out


def test_a_demo_and_an_unfinished_run_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("results/run"), make_baselines(epochs=2), make_run(profile="demo", status="interrupted", dataset={}))
    assert main(["report", "run"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("DEMO")
    assert second.startswith("PARTIAL")
    assert second.endswith(" Go on with: bts-tune --resume results/run")


def test_the_command_that_goes_on_finds_the_run_from_the_folder_of_whoever_reads_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name in the record is not where it is: the run may be of another results folder, or a benchmark's."""
    folder = write_run(Path("studies/my bench/run"), make_baselines(epochs=1), make_run(run="old", status="failed"))
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert main(["report", "../studies/my bench/run"]) == 0
    command = "bts-tune --resume '../studies/my bench/run'"
    assert command in capsys.readouterr().out
    assert command in (Path("..") / folder.path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["my[red]run [1]", "a[bold]c"])
def test_a_name_that_looks_like_markup_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("results") / name, make_baselines(epochs=2), make_run(status="interrupted", dataset={}))
    assert main(["report", name]) == 0
    assert f"bts-tune --resume 'results/{name}'" in capsys.readouterr().out


def test_what_fails_in_a_report_is_named_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(Path("results/run"), make_baselines(epochs=2), make_run())
    samples = folder.samples_file("unet-b0-s0")
    samples.parent.mkdir(parents=True, exist_ok=True)
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "learning_curves.png").mkdir()  # where a file should be written
    assert main(["report", "run"]) == 0
    captured = capsys.readouterr()
    assert "The figure learning_curves" in captured.err
    assert "report.html" in captured.out
