"""Going on: kills, signals, damaged files, changed surroundings and extended searches, on real processes and files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bts_tune.results.record.run_folder import FINISHED, RunFolder
from scripts.processes import descendants, wait_until_gone
from tests.experiment.conftest import Command
from tests.experiment.test_run import figures, wait_for_rows

START = 240
"""Seconds that a busy machine may take to start Ray and import torch."""


def wait_for_text(file: Path, text: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if file.exists() and text in file.read_text():
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended early: {process.communicate()}")
        time.sleep(0.01)
    pytest.fail(f"no {text!r} in {file}")


def whole(folder: RunFolder, epochs: int) -> None:
    """Every trial finished, exactly once, with every epoch."""
    for record in folder.trials():
        assert record.status in FINISHED
        if record.status == "complete":
            assert [row["epoch"] for row in record.rows] == list(range(1, epochs + 1))
    ended = [json.loads(line) for line in folder.trials_file.read_text().splitlines()]
    names = [event["trial"] for event in ended if event["event"] == "ended" and event["status"] in FINISHED]
    assert len(names) == len(set(names))


# Signals


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_leaves_a_partial_report_and_a_second_start_finishes(
    command: Command, space_file: Callable[..., Path], number: signal.Signals
) -> None:
    process = command.start(
        *command.run_arguments(space_file(epochs=200), "cut", "--concurrent", "1", "--only", "plain")
    )
    wait_for_rows(command.folder / "results" / "cut", 2, process, START)
    below = descendants(process.pid)
    process.send_signal(number)
    output, errors = process.communicate(timeout=START)
    assert process.returncode == 130, errors
    assert "the report is partial. Go on with:\n  bts-tune --resume results/cut" in output
    folder = command.record("cut")
    assert folder.read_run()["status"] == "interrupted"
    assert "PARTIAL" in (folder.path / "report.md").read_text()
    assert wait_until_gone(below, 30) == []
    before = folder.trials()[0].rows
    process = command.start("--resume", "cut", "--no-dashboard")
    wait_for_rows(folder.path, len(before) + 1, process, START)
    process.send_signal(number)
    process.communicate(timeout=START)
    rows = folder.trials()[0].rows
    assert rows[: len(before)] == before
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_run_at_once_and_it_can_go_on(
    command: Command, space_file: Callable[..., Path]
) -> None:
    process = command.start(
        *command.run_arguments(space_file(epochs=200), "twice", "--concurrent", "1", "--only", "plain")
    )
    folder = command.folder / "results" / "twice"
    wait_for_rows(folder, 2, process, START)
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=START)
    assert process.returncode in (130, -signal.SIGINT), errors
    assert wait_until_gone(below, 30) == []
    rows = command.record("twice").trials()[0].rows
    process = command.start("--resume", "twice", "--no-dashboard")
    wait_for_rows(folder, len(rows) + 1, process, START)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=START)
    assert command.record("twice").trials()[0].rows[: len(rows)] == rows


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_data_are_prepared_leaves_no_run_and_no_half_prepared_data(
    command: Command, space_file: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    large = tmp_path / "large"
    code, _, errors = command("data", "phantom", large, "--count", "600", "--image-size", "256", timeout=START)
    assert code == 0, errors
    command.data, command.cache = large, tmp_path / "own-cache"
    process = command.start(*command.run_arguments(space_file(epochs=1), "early", "--only", "plain"))
    deadline = time.monotonic() + START
    while not list(command.cache.glob("**/*.npy")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=START)
    assert process.returncode == 130, errors
    assert errors == "bts-tune: interrupted\n"
    assert not (command.folder / "results" / "early" / "run.json").exists()
    code, _, errors = command(*command.run_arguments(space_file(epochs=1), "early", "--only", "plain"), timeout=600)
    assert code == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["evaluation", "report"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_trial_can_be_made_up_for(
    command: Command, space_file: Callable[..., Path], number: signal.Signals, moment: str
) -> None:
    process = command.start(*command.run_arguments(space_file(epochs=1), "late", "--concurrent", "1"))
    path = command.folder / "results" / "late"
    if moment == "evaluation":
        wait_for_text(path / "trials.jsonl", '"evaluated"', process)  # one of two
    else:
        wait_for_text(path / "run.json", '"status": "complete"', process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=START)
    # Once the report is written, a signal ends the process as any other.
    assert process.returncode in ((130,) if moment == "evaluation" else (0, 130, -number)), errors
    if not (path / "report.md").exists():
        assert process.returncode == 130
        assert "--resume results/late" in output
    code, _, errors = command("--resume", "late", "--no-dashboard", timeout=START)
    assert code == 0, errors
    folder = command.record("late")
    whole(folder, 1)
    assert folder.read_run()["status"] == "complete"
    assert "PARTIAL" not in (path / "report.md").read_text()
    assert all(record.test for record in folder.trials())


# What lies on disk


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.slow
def test_damaged_files_are_made_up_for_and_what_was_lost_is_said(
    command: Command, space_file: Callable[..., Path]
) -> None:
    """One run, cut off again and again, and something else broken each time; in the end it equals a whole one."""
    code, _, errors = command(*command.run_arguments(space_file(epochs=30), "whole", "--concurrent", "1"), timeout=600)
    assert code == 0, errors
    folder = command.folder / "results" / "broken"
    state = folder / "models" / "plain" / "last.pt"

    def half_a_line(file: Path) -> None:
        with file.open("ab") as record:
            record.write(b'{"trial": "plain", "epo')

    breaks: list[tuple[Callable[[], Any], str]] = [
        (lambda: _cut(state), "plain: its checkpoint is broken; epochs 1–"),
        (lambda: _flip(state), "plain: its checkpoint is broken; epochs 1–"),
        (state.unlink, "plain: its checkpoint is missing or older; epochs 1–"),
        (lambda: half_a_line(folder / "rows.jsonl"), ""),
        (lambda: half_a_line(folder / "trials.jsonl"), ""),
        (lambda: shutil.rmtree(folder / "ray"), ""),
        (lambda: [file.write_bytes(b"") for file in (folder / "ray").rglob("*") if file.is_file()], ""),
    ]
    arguments: list[str | Path] = [*command.run_arguments(space_file(epochs=30), "broken", "--concurrent", "1")]
    said = ""
    for step, (spoil, expected) in enumerate(breaks):
        lines = folder.joinpath("rows.jsonl").read_bytes().count(b"\n") if step else 0
        process = command.start(*arguments)
        wait_for_rows(folder, lines + 2, process, START)
        trainers = [one for one in descendants(process.pid) if one.title.startswith(("ray::plain", "ray::frozen"))]
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        assert said in output
        # A trial's process outlives the driver by a moment, in which it may write a checkpoint over what is spoilt.
        assert not wait_until_gone(trainers, 30)
        spoil()
        said, arguments = expected, ["--resume", "broken", "--no-dashboard"]
    code, output, errors = command(*arguments, timeout=600)
    assert code == 0, errors
    broken = command.record("broken")
    whole(broken, 30)
    assert [figures(t.rows) for t in broken.trials()] == [figures(t.rows) for t in command.record("whole").trials()]


@pytest.mark.slow
def test_a_checkpoint_ahead_of_the_record_loses_nothing(command: Command, space_file: Callable[..., Path]) -> None:
    """Killed between writing the checkpoint and recording its epoch."""
    process = command.start(
        *command.run_arguments(space_file(epochs=20), "ahead", "--concurrent", "1", "--only", "plain")
    )
    path = command.folder / "results" / "ahead"
    wait_for_rows(path, 3, process, START)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    whole_record = (path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (path / "rows.jsonl").write_bytes(b"".join(whole_record[:-1]))
    code, output, errors = command("--resume", "ahead", "--no-dashboard", timeout=600)
    assert code == 0, errors
    assert "trained again" not in output
    whole(command.record("ahead"), 20)
    assert figures([json.loads(whole_record[-1])])[0] in figures(command.record("ahead").trials()[0].rows)


# Surroundings


@pytest.mark.slow
def test_a_run_goes_on_elsewhere_at_another_time_and_says_what_changed(
    command: Command, space_file: Callable[..., Path], small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_home = tmp_path / "first" / "data"
    shutil.copytree(small_data, first_home)
    command.data = first_home
    process = command.start(*command.run_arguments(space_file(epochs=8), "moved", "--concurrent", "1"))
    wait_for_rows(command.folder / "results" / "moved", 2, process, START)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=START)
    home = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(command.folder / "results" / "moved", home)
    shutil.rmtree(command.folder / "results" / "moved")
    second_home = tmp_path / "second" / "data"
    first_home.rename(tmp_path / "aside")
    shutil.copytree(small_data, second_home)

    # A clock that was set back by ten years, and a record whose times fall.
    rows = [json.loads(line) for line in (home / "rows.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["time"] -= 3e8 * number
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    code, _, errors = command("report", home)
    assert code == 0, errors

    code, _, errors = command("--resume", home, "--no-dashboard")
    assert code == 2
    assert f"{first_home}: the run's dataset is not there; if it has moved, name its folder with --data" in errors

    folder = RunFolder.open(home)
    run = folder.read_run()
    folder.write_run({**run, "code": "0" * 64, "versions": {**run["versions"], "torch": "1.0.0"}, "device": "cuda (X)"})
    code, _, errors = command("--resume", home, "--data", second_home, "--no-dashboard")
    assert code == 2
    assert "torch ('1.0.0', now '" in errors
    assert "own source code" in errors
    assert "--allow-changed" in errors
    assert folder.read_run()["status"] == "interrupted", "a refused resume changed the run"

    code, _, errors = command("--resume", home, "--data", second_home, "--no-dashboard", "--allow-changed", timeout=600)
    assert code == 0, errors
    whole(folder, 8)
    run = folder.read_run()
    assert run["dataset"]["path"] == str(second_home)
    ((change,), clauses) = run["changes"], run["changes"][0]["changed"]
    assert [clause.split(" (")[0] for clause in clauses] == ["torch", "bts-tune's own source code", "the device"]
    report = (home / "report.md").read_text()
    assert "Changes during the run" in report
    assert change["time"] in report

    code, _, errors = command("--resume", home, "--no-dashboard", timeout=600)
    assert code == 0, "what was allowed once is what the next resume is compared with"


def test_a_demo_is_not_resumed_on_a_dataset(command: Command, small_data: Path) -> None:
    folder = RunFolder.create(
        command.folder / "results" / "demo",
        {"profile": "demo", "options": {"space": "baseline"}, "space": {"name": "x"}, "dataset": {"fingerprint": "f"}},
    )
    run = folder.read_run()
    from bts_tune.space import load_space

    folder.write_run({**run, "space": load_space("baseline").document})
    code, _, errors = command.here("--resume", "demo", "--data", small_data)
    assert code == 2
    assert "this run is a demo" in errors


# Extending


@pytest.mark.slow
def test_an_extended_search_is_the_search_that_would_have_been(
    command: Command, space_file: Callable[..., Path]
) -> None:
    arguments = ["--concurrent", "1", "--num-trials"]
    space = space_file(epochs=4, search=True)
    code, _, errors = command(*command.run_arguments(space, "long", *arguments, "7"), timeout=600)
    assert code == 0, errors
    code, _, errors = command(*command.run_arguments(space, "short", *arguments, "4"), timeout=600)
    assert code == 0, errors
    code, _, errors = command("--extend", "short", "--num-trials", "3", "--no-dashboard", timeout=600)
    assert code == 0, errors
    long, short = command.record("long"), command.record("short")
    assert [t.config for t in short.trials()] == [t.config for t in long.trials()]
    assert [(t.status, figures(t.rows)) for t in short.trials()] == [(t.status, figures(t.rows)) for t in long.trials()]
    run = short.read_run()
    assert run["options"]["num_trials"] == 7
    assert [one["trials"] for one in run["extensions"]] == [3]
    assert "extended" in (short.path / "report.md").read_text()
    whole(short, 4)


@pytest.mark.slow
def test_a_run_without_a_search_is_not_extended(command: Command, space_file: Callable[..., Path]) -> None:
    code, _, errors = command(*command.run_arguments(space_file(epochs=1), "named", "--only", "plain"), timeout=START)
    assert code == 0, errors
    code, _, errors = command("--extend", "named", "--num-trials", "3")
    assert code == 2
    assert "this run has no search" in errors


# The kill loop


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_leave_the_leaderboard_as_it_would_have_been() -> None:
    import sys

    script = Path(__file__).parents[2] / "scripts" / "kill_loop.py"
    done = subprocess.run([sys.executable, str(script), "--kills", "20"], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills:                       20" in done.stdout
