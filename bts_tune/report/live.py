"""The page of a run that goes on: made anew every few minutes, by a process of its own that costs next to nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from bts_tune.report.blocks import Document, TitledBlocks, paragraph
from bts_tune.report.render.html import to_html
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import RunFolder

INTERVAL = 180.0
"""Fewest seconds between two pages."""

SHARE = 0.02
"""Most of the run's time that all pages together take."""

_EXPECTED = 6.0
"""Seconds that the first page is taken to cost."""

_LONGEST = 900.0
"""Seconds after which a page is given up."""

_PATIENCE = 5.0
"""Seconds that a page which is no longer wanted has to end by itself."""

# At the lowest priority before anything is imported, which is most of the work.
_COMMAND = "import os, sys; os.nice(19); from bts_tune.cli.main import main; sys.exit(main(sys.argv[1:]))"

GOES_ON = "The run goes on. This page is made anew every few minutes, and reloads by itself."


class LivePage:
    """Makes a run's page anew from time to time. Use as a context manager around the run.

    It reads the record alone, so nothing that goes wrong here can touch the run.

    Args:
        folder: the run.
        plugins: names of the plugins that the run has loaded.
        interval: fewest seconds between two pages.
        clock: gives seconds.
    """

    def __init__(
        self,
        folder: RunFolder,
        plugins: Sequence[str] = (),
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._interval, self._clock = folder, interval, clock
        given = [word for name in plugins for word in ("--plugin", name)]
        self._command = [sys.executable, "-c", _COMMAND, "report", str(folder.path.absolute()), "--page-only", *given]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="live page", daemon=True)

    @property
    def page(self) -> Path:
        """Where the page is."""
        return self._folder.path / "report.html"

    @property
    def busy(self) -> bool:
        """Whether a page may still be made."""
        return self._thread.is_alive()

    def __enter__(self) -> LivePage:
        if not self.page.exists():
            with contextlib.suppress(OSError):
                write_atomically(self.page, first_page(self._folder.path.name))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _go_on(self) -> None:
        began, spent, last = self._clock(), 0.0, _EXPECTED
        while not self._stopped.wait(max(0.0, self._due(began, spent, last) - self._clock())):
            with contextlib.suppress(
                OSError
            ):  # such as no process to be had; the run has the same trouble, and tells it
                last = self._make()
            spent += last

    def _due(self, began: float, spent: float, last: float) -> float:
        """Return when the next page may be made: the share of all of them, that one included, stays below `SHARE`."""
        return max(self._clock() + self._interval, began + (spent + last) / SHARE)

    def _make(self) -> float:
        """Make the page in a process of its own; return the seconds of processor time that it took."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        given_up = time.monotonic() + _LONGEST
        killed = float("inf")
        while True:
            found, _, used = os.wait4(process.pid, os.WNOHANG)
            if found:
                process.returncode = 0  # it has been waited for
                self._tidy()
                return used.ru_utime + used.ru_stime
            if killed == float("inf") and (self._stopped.is_set() or time.monotonic() > given_up):
                process.send_signal(signal.SIGINT)
                killed = time.monotonic() + _PATIENCE
            elif time.monotonic() > killed:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.1) if self._stopped.is_set() else self._stopped.wait(0.5)

    def _tidy(self) -> None:
        """Remove what a process that was killed may have left of a page."""
        for part in self._folder.path.glob(f".{self.page.name}.*.part"):
            part.unlink(missing_ok=True)


def first_page(name: str) -> str:
    """Return the page of a run that has only begun."""
    begun = paragraph("The run has begun. Its first report comes in a few minutes.", strong=True)
    return to_html(Document(f"bts-tune: {name}", (), (), (TitledBlocks("Answer", (begun,)),), live=GOES_ON))
