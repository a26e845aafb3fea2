"""A run on a grouped split: what it records, and that going on uses the recorded one."""

from __future__ import annotations

import csv
from pathlib import Path

from bts_tune.data.open import open_dataset
from bts_tune.data.splits.split import read_split
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.leaks import read_leaks
from tests.experiment.conftest import PATIENT, Command, Finished


def test_a_grouped_run_records_its_split_and_goes_on_with_it(
    with_options: Finished, command: Command, small_data: Path
) -> None:
    output = with_options.output
    assert "Split grouped: " in output
    folder = command.copy_of(with_options.folder)
    dataset = folder.read_run()["dataset"]
    split = dataset["split"]
    assert (split["method"], split["seed"], split["group_by"]) == ("grouped", 7, PATIENT)
    assert split["groups"]["count"] == 20
    assert not split["leak"]["leaks"]
    assert {name: one["images"] for name, one in split["splits"].items()} == dataset["splits"]
    splits = read_split(folder.split_file)
    regrouped = open_dataset(small_data).with_splits(splits)
    assert regrouped.fingerprint() == dataset["fingerprint"] != open_dataset(small_data).fingerprint()
    leaks = read_leaks(folder.leaks_file)
    assert leaks is not None
    assert {pair.file for pair in leaks} <= {name for name, part in splits.items() if part != "train"}
    assert len(leaks) == sum(one["look_alikes"] for one in split["leak"]["splits"].values())
    assert dataset["content"] == open_dataset(small_data).fingerprint(splits=False)

    code, output, errors = command.here("--resume", "options", "--no-dashboard")
    assert code == 0, errors
    with folder.split_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    moved = {"train": "valid", "valid": "train", "test": "test"}
    lines = [f"{row['file']},{moved[row['split']]},{row['group']}\n" for row in rows]
    write_atomically(folder.split_file, "file,split,group\n" + "".join(lines))
    code, output, errors = command.here("--resume", "options", "--no-dashboard")
    assert code == 2
    assert "began with something else than there is now: the dataset" in errors
