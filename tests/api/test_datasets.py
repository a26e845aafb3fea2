"""Datasets from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import bts_tune as bt
from bts_tune.errors import ConfigError, DataError


def test_a_dataset_is_opened_and_checked(slices: Path, tmp_path: Path) -> None:
    for root in (slices, str(slices)):
        dataset = bt.open_dataset(root)
        assert {split: len(records) for split, records in dataset.records.items()} == {
            "train": 28,
            "valid": 8,
            "test": 4,
        }
    assert bt.check_dataset(dataset).errors == bt.check_dataset(slices).errors == ()
    with pytest.raises(DataError, match="nowhere: does not exist"):
        bt.check_dataset("nowhere")
    with pytest.raises(DataError, match="'stroke'"):
        bt.open_dataset(slices, tumor_categories=["stroke"])
    with pytest.raises(ConfigError, match="unknown reader 'minc'"):
        bt.open_dataset(slices, reader="minc")
