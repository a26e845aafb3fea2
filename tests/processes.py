"""Processes of the command that begin with its libraries imported.

Importing torch, Ray and matplotlib takes several seconds of a core. A server does so once, and each command is forked
from it: a process of its own, with its own working folder, environment, output, signals and exit code.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Protocol

_PRELOADED = ["tests.preloaded", "tests.experiment.execution.test_trainable"]


class Started(Protocol):
    """A process of the command: a `subprocess.Popen` with text output, or a forked one."""

    returncode: int | Any

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code."""
        ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return its output and its errors."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


def forking() -> ForkServerContext:
    """Return the context whose processes are forked from one that has imported what a run needs, and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


class Forked:
    """`python -m bts_tune` without the wait for its imports.

    Args:
        arguments: of the command.
        folder: where it runs.
        environment: what it has; what Python itself reads at its start has no effect.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._streams = Path(tempfile.mkdtemp(prefix="streams-", dir=folder.parent))
        self._process = forking().Process(
            target=_run_command, args=(list(arguments), str(folder), dict(environment), str(self._streams))
        )
        self._process.start()
        self.returncode: int | Any = None

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        self.returncode = self._process.exitcode
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("bts-tune", timeout or 0)
        return code

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return its output and its errors."""
        self.wait(timeout)
        output, errors = ((self._streams / name).read_text() for name in ("output", "errors"))
        return output, errors

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def _run_command(arguments: list[str], folder: str, environment: dict[str, str], streams: str) -> None:
    for descriptor, name in ((1, "output"), (2, "errors")):
        file = os.open(os.path.join(streams, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["bts_tune", *arguments]
    end: Callable[[], None] = atexit._run_exitfuncs
    try:
        runpy.run_module("bts_tune", run_name="__main__", alter_sys=True)
    finally:
        end()  # which a forked process leaves out
