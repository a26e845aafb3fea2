"""How a command that has trained ends: what it prints, and its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.api import Run
from bts_tune.cli.outcome import conclude
from bts_tune.console import make_console
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_baselines, make_final, make_run, make_trial, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")


def ended(trials: list[TrialRecord], **changes: Any) -> Run:
    run = Run(write_run(Path("results/my run"), trials, make_run(**changes)))
    run.report()
    return run


def failed(name: str, index: int) -> TrialRecord:
    return make_trial(name, index=index, status="failed", reason="its process died", encoder="resnet18")


def test_a_complete_run_names_its_files_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(ended(make_baselines(epochs=2)), make_console()) == 0
    output = capsys.readouterr().out
    for label, file in (("Report", "report.html"), ("as text", "report.md"), ("Leaderboard", "leaderboard.csv")):
        line = next(line for line in output.splitlines() if line.startswith(f"{label}:"))
        assert Path(line.partition(":")[2].strip()) == Path("results/my run") / file
    assert "bts-tune predict 'results/my run' IMAGES --out DIR" in output
    assert "--resume" not in output


def test_the_next_command_is_quoted_and_loads_the_plugins_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    plugins = [
        {"name": "/my own/loss.py", "kind": "file", "sha256": "0"},
        {"name": "losses:mine", "kind": "class", "sha256": "0"},
    ]
    options = {"space": "my spaces/own.yaml"}
    run = ended(make_baselines(epochs=2), profile="demo", options=options, plugins=plugins)
    assert conclude(run, make_console()) == 0
    output = capsys.readouterr().out
    assert "bts-tune predict 'results/my run' IMAGES --out DIR --plugin '/my own/loss.py'\n" in output
    assert "bts-tune --space 'my spaces/own.yaml' --data DIR --plugin '/my own/loss.py'\n" in output


def test_a_demo_says_how_to_use_one_s_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    run = ended(make_baselines(epochs=2), profile="demo", options={"space": "baseline"})
    assert conclude(run, make_console()) == 0
    assert "bts-tune --space baseline --data DIR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "why", "code"), [("interrupted", "interrupted", 130), ("out-of-time", "out of time", 0)]
)
def test_an_unfinished_run_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], status: str, why: str, code: int
) -> None:
    assert conclude(ended(make_baselines(epochs=2), status=status), make_console()) == code
    output = capsys.readouterr().out
    assert f"The run was {why}: the report is partial." in output
    assert "bts-tune --resume 'results/my run'" in output
    assert "bts-tune predict" not in output


def test_a_time_budget_without_a_single_epoch_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    run = ended([make_trial("mine", status="interrupted", rows=[])], status="out-of-time")
    assert conclude(run, make_console()) == 1
    streams = capsys.readouterr()
    assert "nothing was trained" in streams.err
    assert "bts-tune --resume 'results/my run'" in streams.out


def test_a_complete_run_without_a_model_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    run = ended(make_baselines(epochs=2), models_lacking=["unet-b0"])
    assert conclude(run, make_console()) == 1
    assert "its models of unet-b0 are not there" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("search-0001", 0), ("mine", 1)])
def test_a_trial_that_was_asked_for_by_name_must_not_fail(
    capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    assert conclude(ended([*make_baselines(epochs=2), failed(name, 9)]), make_console()) == code
    assert name in capsys.readouterr().out


def test_a_trial_of_the_final_stage_must_not_fail() -> None:
    search = make_baselines(epochs=2)
    final = make_final(search, seeds=1)
    assert conclude(ended([*search, *final]), make_console()) == 0


def test_a_failure_in_the_final_stage_is_a_problem() -> None:
    search = make_baselines(epochs=2)
    final = make_final(search, seeds=1)
    final[-1].status, final[-1].rows = "failed", []
    assert conclude(ended([*search, *final]), make_console()) == 1


def test_a_run_without_a_complete_trial_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(ended([failed("search-0001", 0)]), make_console()) == 1
    assert "bts-tune predict" not in capsys.readouterr().out


def test_what_failed_in_the_report_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(Path("results/run"), make_baselines(epochs=2), make_run())
    (folder.path / "figures" / "learning_curves.png").mkdir(parents=True)
    run = Run(folder)
    run.report()
    assert conclude(run, make_console()) == 0
    captured = capsys.readouterr()
    assert "The figure learning_curves" in captured.err
    assert "Report:" in captured.out
