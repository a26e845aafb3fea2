"""The file that keeps which images leak, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.results.record.leaks import LeakPair, closest_sentence, of_the_same_scan, read_leaks, write_leaks

PAIRS = [
    LeakPair("test/a, b.png", "test", "train/1.png", 0.999, "as it is", "identical", 0.9991, 0.96),
    LeakPair("test/c.png", "test", "train/1.png", 0.97, "mirrored left to right", "same scan", 0.8, None),
    LeakPair("test/d.png", "test", "train/2.png", 0.91, "as it is", "similar"),
    LeakPair("valid/e.png", "valid", "train/2.png", 0.98, "as it is", "same scan"),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_leaks(tmp_path / "leaks.csv", PAIRS)
    assert read_leaks(tmp_path / "leaks.csv") == PAIRS
    write_leaks(tmp_path / "leaks.csv", [])
    assert read_leaks(tmp_path / "leaks.csv") == []


def test_a_run_of_an_earlier_version_has_no_file(tmp_path: Path) -> None:
    assert read_leaks(tmp_path / "leaks.csv") is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("same scan", "same patient", "line 3"),
        ("0.999,", "1.5,", "line 2"),
        ("0.999,", "nan,", "line 2"),
        ("train/1.png", "", "line 2"),
        (",valid,", ",train,", "line 5"),
        ("file,split", "name,split", "no column file"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "leaks.csv"
    write_leaks(path, PAIRS)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match=says):
        read_leaks(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "leaks.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(RunError, match="cannot be read"):
        read_leaks(tmp_path / "leaks.csv")


def test_clean_means_without_an_identical_or_same_scan_image() -> None:
    assert of_the_same_scan(PAIRS, "test") == {"test/a, b.png", "test/c.png"}


def test_the_closest_relation_is_told_as_shares_of_each_split() -> None:
    sentence = closest_sentence({"test": {"images": 860, "identical": 103, "same_scan": 200, "similar": 400}})
    assert sentence is not None
    assert "identical for 12.0% of test, of the same scan for 23.3% of test, no more than similar for 46.5%" in sentence
    assert closest_sentence({"valid": {"look_alike_share": 0.7}}) is None
    few = closest_sentence({"test": {"images": 8600, "identical": 1, "same_scan": 0, "similar": 8599}})
    assert few is not None
    assert "identical for < 0.1% of test, of the same scan for 0.0% of test, no more than similar for > 99.9%" in few
