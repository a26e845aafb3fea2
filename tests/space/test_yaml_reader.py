from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import ConfigError
from bts_tune.space.yaml_reader import read_yaml


def test_yaml_reads_numbers_as_their_authors_mean_them(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("﻿a: 1e-4\nb: 1.5E+3\nc: 1e-4x\nd: none\ne: 12\nf: &base {k: 1, l: 2}\ng: {<<: *base, l: 3}\n")
    assert read_yaml(path) == {
        "a": 1e-4,
        "b": 1500.0,
        "c": "1e-4x",
        "d": "none",
        "e": 12,
        "f": {"k": 1, "l": 2},
        "g": {"k": 1, "l": 3},
    }


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read_yaml(path)
