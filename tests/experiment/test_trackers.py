"""A run with plugins that its space names: trackers, one of which fails, and a way to split."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from tests.experiment.conftest import Command

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "plugins"

FAILING = """
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker


@TRACKERS.register("failing")
class Failing(Tracker):
    def log_epoch(self, trial, row):
        raise OSError(28, "No space left on device")
"""


def test_trackers_of_plugins_one_that_fails_and_a_split_of_a_plugin(
    command: Command, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text(FAILING)
    plugins = (EXAMPLES / "csv_tracker.py", EXAMPLES / "by_hash.py", failing)
    space = space_file(epochs=2, extra=f"plugins: [{', '.join(map(str, plugins))}]\ntrackers: [failing, csv]\n")
    options = ("--only", "plain", "--concurrent", "1", "--split", "by-hash")
    code, output, errors = command(*command.run_arguments(space, "one", *options), timeout=400)
    assert code == 0, errors
    assert "Split by-hash" in output
    folder = command.record("one")
    assert f"CSV files: {Path('results') / 'one' / 'csv'}\n" in output
    assert output.count("tracker 'failing' failed and is left out for the rest of the run: OSError: ") == 1
    with (folder.path / "csv" / "plain.csv").open(newline="") as file:
        logged = [(int(row["epoch"]), float(row["val_dice_loss"])) for row in csv.DictReader(file)]
    (record,) = folder.trials()
    assert logged == [(row["epoch"], row["val_dice_loss"]) for row in record.rows]
    assert record.status == "complete"
    assert not (folder.path / "tensorboard").exists()
