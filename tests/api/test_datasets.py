"""Datasets from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    for one in ("stroke", ["stroke"]):
        with pytest.raises(DataError, match="'stroke'"):
            bt.open_dataset(slices, tumor_categories=one)
    (tmp_path / "pairs" / "images").mkdir(parents=True)
    (tmp_path / "pairs" / "masks").mkdir()
    for folder in ("images", "masks"):
        Image.new("L", (32, 32)).save(tmp_path / "pairs" / folder / "a.png")
    labels = bt.open_dataset(tmp_path / "pairs", tumor_labels=["1"])
    given: tuple[Any, ...] = (1, [1], np.int64(1), np.array([1]))
    for one in given:
        assert bt.open_dataset(tmp_path / "pairs", tumor_labels=one) == labels
    with pytest.raises(DataError, match="'9'"):
        bt.open_dataset(slices, tumor_categories=9)
    with pytest.raises(ConfigError, match="unknown reader 'minc'"):
        bt.open_dataset(slices, reader="minc")
