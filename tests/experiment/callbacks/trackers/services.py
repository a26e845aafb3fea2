"""Runs on disk, for the tests of trackers that are services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_row, make_run, make_trial, write_run


def small_run(
    path: Path, *, epochs: int = 3, statuses: tuple[str, ...] = ("complete", "failed"), **run: Any
) -> RunFolder:
    """Write a run of trials 'a', 'b', …, each with as many epochs, and with a report's files."""
    trials = []
    for index, status in enumerate(statuses):
        name = "abcdefgh"[index]
        rows = [make_row(name, epoch, 0.9 / epoch, 0.5) for epoch in range(1, epochs + 1)]
        trials.append(make_trial(name, index=index, rows=rows, status=status, epochs=9))
    folder = write_run(path, trials, make_run(run=path.name, **run))
    (path / "report.html").write_text("<p>a report</p>")
    (path / "figures").mkdir(exist_ok=True)
    (path / "figures" / "curve.png").write_bytes(b"a picture")
    return folder
