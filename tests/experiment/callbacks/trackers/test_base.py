"""The tracker of the documentation, as a user would write and check one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bts_tune import plugins
from bts_tune.plugins import load_plugin
from bts_tune.registry import TRACKERS
from bts_tune.testing.trackers import TrackerContract

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "plugins" / "csv_tracker.py"


class TestExample(TrackerContract):
    name = "csv"

    @pytest.fixture(autouse=True)
    def _loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plugins, "_loaded", {})
        TRACKERS.all()  # what is imported later would be forgotten with the example
        monkeypatch.setattr(TRACKERS, "_entries", dict(TRACKERS._entries))
        load_plugin(str(EXAMPLE))

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]]:
        path = folder / "csv" / f"{trial}.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return [(int(row["epoch"]), float(row["val_dice_loss"])) for row in csv.DictReader(file)]
