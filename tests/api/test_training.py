"""One configuration trained in this process."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import bts_tune as bt
from bts_tune.api.datasets import with_splits
from bts_tune.data.training_share import with_training_share
from bts_tune.errors import BtsTuneError, ConfigError, DataError, RunError
from bts_tune.training.prediction.segmenter import Segmenter
from tests.api.studies import FIELDS


def test_training_yields_epochs_and_goes_on_where_it_was_cut_off(slices: Path, tmp_path: Path) -> None:
    fields = {**FIELDS, "epochs": 3}
    whole = [epoch.to_dict() for epoch in bt.train(fields, slices, device="cpu", folder=tmp_path / "whole")]
    assert [epoch["epoch"] for epoch in whole] == [1, 2, 3]
    assert all(math.isfinite(epoch["val_dice_loss"]) for epoch in whole)

    cut_off = bt.train(fields, bt.open_dataset(slices), device="cpu", folder=tmp_path / "cut")
    next(cut_off)
    cut_off.close()  # type: ignore[attr-defined]
    again = [epoch.to_dict() for epoch in bt.train(bt.TrialConfig.parse(fields), str(slices), folder="cut")]
    clock = {"seconds", "train_seconds", "images_per_second"}
    assert [{name: value for name, value in epoch.items() if name not in clock} for epoch in again] == [
        {name: value for name, value in epoch.items() if name not in clock} for epoch in whole
    ]
    best = min(whole, key=lambda epoch: epoch["val_dice_loss"])
    assert Segmenter.load(tmp_path / "cut").epoch == best["epoch"]

    weights = (tmp_path / "cut" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="cut: its checkpoint is of another configuration"):
        next(bt.train({**fields, "learning_rate": 0.5}, slices, folder=tmp_path / "cut"))
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == weights


def test_what_cannot_be_trained_is_refused_before_the_first_epoch_is_asked_for(slices: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'encoder'"):
        bt.train({"encodr": "resnet18"}, slices)
    with pytest.raises(DataError, match="nowhere: does not exist"):
        bt.train(FIELDS, "nowhere")
    with pytest.raises(BtsTuneError, match=r"nowhere\.pth"):
        bt.train({**FIELDS, "encoder_weights": "nowhere.pth"}, slices)
    with pytest.raises(ConfigError, match="device"):
        bt.train(FIELDS, slices, device="tpu")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"threads": -1}, "threads: must be a whole number from 0 on, got -1"),
        ({"threads": "2"}, "threads: must be a whole number, got '2'"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_what_is_asked_for_beside_the_configuration_is_checked_at_once(
    slices: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        bt.train(FIELDS, slices, **given)


@pytest.mark.parametrize("folder", ["file", "file/inside"])
def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_trained(
    slices: Path, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be a folder to keep the training in"):
        bt.train(FIELDS, slices, folder=tmp_path / folder)


def test_a_share_of_the_training_images_is_of_whole_groups_as_in_a_run(slices: Path) -> None:
    dataset = with_splits(bt.open_dataset(slices), grouped=True)
    kept = with_training_share(dataset, 0.5).records["train"]
    groups = {record.group for record in kept}
    assert None not in groups
    assert {record.name for record in kept} == {one.name for one in dataset.records["train"] if one.group in groups}
