from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.experiment.execution.cluster.signals import ending_signals, signals_as_ctrl_c, stop_requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sigterm_ends_a_run_as_ctrl_c_does(number: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals_as_ctrl_c():
        os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_the_end_and_the_second_does_not_wait(first: int) -> None:
    with signals_as_ctrl_c(), stop_requested() as requested:
        assert not requested.is_set()
        os.kill(os.getpid(), first)
        assert requested.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_under_nohup_does_not_end_with_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ending_signals() == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ending_signals() == [signal.SIGTERM, signal.SIGHUP]


def test_a_closed_terminal_ends_the_run_and_files_are_still_written(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from bts_tune.experiment.execution.cluster.signals import signals_as_ctrl_c
try:
    with signals_as_ctrl_c():
        print("begun", flush=True)
        os.kill(os.getpid(), signal.SIGHUP)
except KeyboardInterrupt:
    print("nobody reads this", flush=True)
    os.kill(os.getpid(), signal.SIGHUP)
    Path({str(tmp_path / "record")!r}).write_text("whole")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "begun\n"), done.stderr
    assert (tmp_path / "record").read_text() == "whole"
