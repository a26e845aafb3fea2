"""A tracker of one's own: each trial's epochs as a CSV file that grows while the trial trains.

    bts-tune --space baseline --data DIR --plugin csv_tracker.py --tracker csv
    bts-tune --space baseline --data DIR --plugin csv_tracker.py --tracker csv --tracker tensorboard

or in a space file: `plugins: [csv_tracker.py]` and `trackers: [csv, tensorboard]`. The files are
`results/<run>/csv/<trial>.csv`. A tracker for a service works alike: connect in `start_run`, send in `log_epoch`, and
raise in `__init__` where a package or an address is missing: that refuses the run before anything is trained.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker


@TRACKERS.register("csv")
class CSVTracker(Tracker):
    """Appends a line for each epoch."""

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> None:
        self.folder = folder / "csv"
        self.folder.mkdir(exist_ok=True)

    def location(self) -> str:
        return f"CSV files: {self.folder}"

    def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        path = self.folder / f"{trial}.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
