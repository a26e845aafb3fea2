"""Processes by their ids, from /proc: for scripts that kill a run on purpose and look for what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process; `started` tells it from a later one of the same id."""

    pid: int
    parent: int
    started: int
    state: str

    @property
    def title(self) -> str:
        """Its command line, which Ray replaces with what a worker does; empty once it is gone."""
        return _read(self.pid, "cmdline").replace("\0", " ").strip()

    def alive(self) -> bool:
        """Whether it still runs; what has ended and waits for its parent does not."""
        now = find(self.pid)
        return now is not None and now.started == self.started and now.state != "Z"

    def memory(self) -> int:
        """Return the resident set size in bytes; 0 once it is gone."""
        fields = _read(self.pid, "statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it is still the same process."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find(pid: int) -> Process | None:
    """Return a process by its id; None where there is none."""
    # The name stands in brackets and may hold anything; what follows its last bracket are the fields.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return Process(pid, int(fields[1]), int(fields[19]), fields[0]) if len(fields) > 19 else None


def descendants(pid: int) -> list[Process]:
    """Return what a process started, and what that started, as long as the chain of parents is whole."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := find(int(entry.name))) is not None:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def marked(name: str, value: str) -> list[Process]:
    """Return every process whose environment had NAME=VALUE when it started, whoever its parent is by now."""
    entry = f"{name}={value}"
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    found = [find(pid) for pid in pids if entry in _read(pid, "environ").split("\0")]
    return [process for process in found if process is not None and process.state != "Z"]


def wait_until_gone(processes: Iterable[Process], seconds: float) -> list[Process]:
    """Return those that still run after `seconds`; sooner if all are gone."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while (left := [process for process in left if process.alive()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def interrupt(run: subprocess.Popen[Any], processes: Iterable[Process]) -> None:
    """End a run of `bts-tune` at once, as Ctrl-C twice does, and wait for it and its processes."""
    run.send_signal(signal.SIGINT)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)  # the second one ends it at once
    run.wait()
    wait_until_gone(processes, 20)


def environment(mark: str, value: str, **more: str) -> Mapping[str, str]:
    """Return an environment for a child that finds this checkout and can be found by `marked`."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, mark: value, **more}


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""
