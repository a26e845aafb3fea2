"""`bts-tune watch`: a run's trials from its folder alone, once or again and again."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_curve, make_run, make_trial, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")


def begun(path: Path, status: str = "running") -> RunFolder:
    trials = [
        make_trial("first", rows=make_curve("first", 3, 0.4), epochs=3, baseline=True),
        make_trial("second", index=1, status="running", rows=make_curve("second", 1, 0.5), epochs=3),
    ]
    return write_run(path, trials, make_run(status=status))


def test_one_table_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    begun(Path("results/run"))
    for arguments in (["watch", "run"], ["watch", "results/run", "--once"]):
        assert main(arguments) == 0
        _, header, running, other, summary = (line.rstrip() for line in capsys.readouterr().out.splitlines())
        assert header.split() == ["trial", "status", "epoch", "Dice", "loss", "IoU", "best", "so", "far", "time"]
        assert running.split()[:3] == ["second", "running", "1/3"]
        assert other.split()[:3] == ["first*", "complete", "3/3"]
        assert summary.startswith("running: 1 of 2 trials ended")


def test_a_run_that_has_ended_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    begun(Path("results/run"), status="interrupted")
    assert main(["watch", "run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Go on with:  bts-tune --resume results/run"
    assert "nothing: no such run" in refused("watch", "nothing")


def test_a_terminal_shows_what_is_added_until_the_run_ends() -> None:
    folder = begun(Path("results/run"))
    driver, terminal = pty.openpty()
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-m", "bts_tune", "watch", "run"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30", "PYTHONPATH": root},
    )
    os.close(terminal)
    shown = b""

    def wait_for(text: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + 300
        while text not in shown and time.monotonic() < deadline:
            if select.select([driver], [], [], 0.2)[0]:
                try:
                    shown += os.read(driver, 65536)
                except OSError:  # the process has ended
                    break
        assert text in shown, shown[-2000:]

    try:
        wait_for(b"1/3")
        for row in make_curve("second", 3, 0.5)[1:]:
            folder.append_row(row)
        folder.append_event("ended", "second", status="complete", reason="")
        folder.update_run(status="complete")
        wait_for(b"complete: 2 of 2 trials ended")
        wait_for(b"bts-tune report results/run")
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
        process.wait()
        os.close(driver)
