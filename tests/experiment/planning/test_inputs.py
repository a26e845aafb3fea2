from __future__ import annotations

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from bts_tune.cli.main import main
from bts_tune.config import PreprocessingPart
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.prepared.prepare import load_prepared
from bts_tune.data.splits.split import read_split
from bts_tune.errors import BrokenDatasetError, ConfigError, DataError, RunError
from bts_tune.experiment.planning.inputs import (
    CheckedDataset,
    check_and_split,
    open_data,
    prepare_inputs,
    reopen_dataset,
)
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import load_space
from tests.data.builders import write_pairs
from tests.data.mask_kinds import KINDS

PATIENT = r"(p\d+)_"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=500)


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def options(data: Path, cache: Path, **more: object) -> RunOptions:
    return RunOptions.parse({"space": "baseline", "data": str(data), "cache": str(cache), **more})


def open_checked_dataset(given: RunOptions, console: Console) -> CheckedDataset:
    return check_and_split(open_data(given, console), given, console, draw=True)


def test_a_dataset_is_checked_and_its_split_is_told(small_data: Path, cache: Path, console: Console) -> None:
    opened = open_checked_dataset(options(small_data, cache), console)
    assert not opened.checked.errors
    assert opened.folds == {None: opened.dataset}
    assert f"Dataset {small_data}: " in output(console)
    assert opened.split.sentence() in output(console)
    assert opened.sheet is not None
    assert opened.sheet.startswith(b"\x89PNG")


def test_the_command_that_shows_the_warnings_reads_the_dataset_as_the_run_does(
    small_data: Path, cache: Path, tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(small_data, tmp_path / "two words")
    image = next((copy / "train").glob("*.png"))
    shutil.copy(image, copy / "train" / f"unlisted{image.suffix}")
    given = options(copy, cache, split="grouped", group_by=PATIENT, split_seed=3)
    opened = open_checked_dataset(given, console)
    (line,) = [line for line in output(console).splitlines() if "bts-tune data check" in line]
    _, *words = shlex.split(line[line.index("bts-tune data check") :])
    assert words[3:] == ["--split", "grouped", "--group-by", PATIENT, "--split-seed", "3", "--cache", str(cache)]
    assert main(words) == 0
    assert opened.split.sentence() in " ".join(capsys.readouterr().out.split())


def test_a_broken_dataset_is_refused_with_all_that_is_wrong(
    small_data: Path, cache: Path, tmp_path: Path, console: Console
) -> None:
    broken = shutil.copytree(small_data, tmp_path / "broken")
    files = sorted((broken / "train").rglob("*.png"))[:2]
    for file in files:
        file.write_bytes(b"no image")
    with pytest.raises(BrokenDatasetError, match=r"the dataset has 2 errors, listed above; nothing was trained"):
        open_checked_dataset(options(broken, cache), console)
    assert all(file.name in output(console) for file in files)
    with pytest.raises(BrokenDatasetError, match=f"2 errors, the first of them: .*{files[0].name}: "):
        open_checked_dataset(options(broken, cache), Console(quiet=True))


def test_a_run_that_goes_on_has_the_folds_that_it_began_with(
    small_data: Path, cache: Path, tmp_path: Path, console: Console
) -> None:
    folds = options(small_data, cache, split="grouped", group_by=PATIENT, folds=2)
    opened = open_checked_dataset(folds, console)
    # All images but those of the test split are trained on, in one fold or another.
    assert opened.leaks
    assert {pair.split for pair in opened.leaks} == {"test"}
    assert "valid" in {pair.split for pair in opened.checked.leak.pairs}
    run = {"dataset": {"split": opened.split.to_dict()}}
    folder = RunFolder.create(tmp_path / "run", run, lambda folder: opened.split.write(folder.split_file))
    dataset, reopened = reopen_dataset(folder, folder.read_run(), folds, console)
    assert {one.name: one.split for one in dataset} == read_split(folder.split_file)
    for fold, before in opened.folds.items():
        assert {one.name: one.split for one in reopened[fold]} == {one.name: one.split for one in before}

    text = folder.split_file.read_text()
    assert ",1\n" in text
    folder.split_file.write_text(text.replace(",1\n", ",2\n", 1))
    with pytest.raises(RunError, match=r"split\.csv: the folds are no longer what run run began with"):
        reopen_dataset(folder, json.loads(folder.run_file.read_text()), folds, console)


def write_flat(root: Path) -> Path:
    """Write slices without splits, of which two files are of a format that is not read."""
    write_pairs(root, 30)
    for number in range(2):
        (root / "images" / f"d{number}.dcm").touch()
    return root


def test_files_that_are_left_out_are_named_in_the_first_lines(tmp_path: Path, cache: Path, console: Console) -> None:
    opened = open_checked_dataset(options(write_flat(tmp_path), cache), console)
    assert opened.split.method == "grouped"
    assert all(opened.dataset.records.values())
    assert "read as image/mask folders" in output(console)
    assert "2 .dcm files left out" in output(console)
    assert "images/d0.dcm, images/d1.dcm" in output(console)


@pytest.mark.parametrize("method", ["provided", "grouped"])
def test_a_dataset_without_splits_goes_on_with_those_on_record(
    tmp_path: Path, cache: Path, console: Console, method: str
) -> None:
    """Earlier versions recorded the split that they dealt at random as the dataset's own."""
    root = write_flat(tmp_path / "data")
    names = [f"images/s{number:03}.png" for number in range(30)]
    splits = dict(zip(names, ["valid"] * 6 + ["test"] * 3 + ["train"] * 21, strict=True))
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    lines = [f"{name},{split},0" for name, split in splits.items()]
    folder.split_file.write_text("\n".join(["file,split,group", *lines]) + "\n")
    run = {"dataset": {"split": {"method": method}}}
    dataset, _ = reopen_dataset(folder, run, options(root, cache, split=method), console)
    assert {record.name: record.split for record in dataset} == splits


def test_one_training_image_is_refused_before_training(tmp_path: Path, cache: Path, console: Console) -> None:
    for split, count in (("train", 1), ("valid", 2)):
        write_pairs(tmp_path / split, count)
    with pytest.raises(BrokenDatasetError, match="nothing was trained"):
        open_checked_dataset(options(tmp_path, cache), console)
    assert "the split holds one usable image; batch normalisation trains on at least 2" in output(console)


def test_the_reader_can_be_named(tmp_path: Path, cache: Path, console: Console) -> None:
    with pytest.raises(ConfigError, match=r"--reader: unknown reader 'folder'\. Did you mean 'folders'\?"):
        options(tmp_path, cache, reader="folder").require_known_names()
    with pytest.raises(DataError, match=r"has no train split|missing|nnU-Net"):
        open_data(options(write_flat(tmp_path), cache, reader="nnunet"), console)


def test_what_trials_need_is_ready_before_the_first_one(small_data: Path, cache: Path, console: Console) -> None:
    given = options(small_data, cache)
    space = load_space("baseline").resolve(
        overrides={"encoder": "resnet18", "encoder_weights": "none", "image_size": 32}, only=["unet-b0"]
    )
    inputs, held = prepare_inputs({None: open_data(given, console)}, space, given, console)
    (named,) = space.named
    prepared = load_prepared(Path(inputs.prepared_for(named.config, None)))
    assert prepared.train.images.shape[1:] == (32, 32)
    assert [data.folder for data in held] == [prepared.folder]
    assert list(inputs.prepared) == [(named.config.part(PreprocessingPart), None)]
    assert list(inputs.weights) == [("resnet18", "none")]
    assert inputs.parameters["unet", "resnet18"] > 10**6


def test_masks_are_read_by_one_rule_which_a_run_that_goes_on_keeps(
    tmp_path: Path, cache: Path, console: Console
) -> None:
    root = next(kind for kind in KINDS if kind.name == "two labels").build(tmp_path / "data")
    opened = open_checked_dataset(options(root, cache, tumor_labels=["2"]), console)
    rule = MaskRule("labels", labels=(2.0,))
    assert opened.dataset.mask_rule == rule
    assert "9 masks of the values 0 " in output(console)
    assert "2 is tumour, as chosen." in output(console)
    run = {"dataset": {"masks": json.loads(json.dumps(opened.checked.masks.rule.to_dict()))}}
    folder = RunFolder(tmp_path / "run")
    dataset, _ = reopen_dataset(folder, run, options(root, cache, tumor_labels=["2"]), console)
    assert dataset.mask_rule == rule
    assert dataset.fingerprint() == opened.dataset.fingerprint()
    # An earlier version recorded no rule, and took all but 0.
    dataset, _ = reopen_dataset(folder, {"dataset": {}}, options(root, cache), console)
    assert dataset.mask_rule == MaskRule()
