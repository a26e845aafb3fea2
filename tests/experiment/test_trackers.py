"""A run with trackers that its space names, of a plugin, one of which fails."""

from __future__ import annotations

import csv

from tests.experiment.conftest import Finished


def test_trackers_of_plugins_and_one_that_fails(with_options: Finished) -> None:
    folder, output = with_options.folder, with_options.output
    assert "CSV files: results/options/csv\n" in output
    assert output.count("tracker 'failing' failed and is left out for the rest of the run: OSError: ") == 1
    for record in folder.trials():
        with (folder.path / "csv" / f"{record.trial}.csv").open(newline="") as file:
            logged = [(int(row["epoch"]), float(row["val_dice_loss"])) for row in csv.DictReader(file)]
        assert logged == [(row["epoch"], row["val_dice_loss"]) for row in record.rows]
        assert record.status == "complete"
    assert not (folder.path / "tensorboard").exists()
