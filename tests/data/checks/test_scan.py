from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.checks.scan import Scan, scan_dataset
from bts_tune.data.open import open_dataset
from tests.data.builders import annotation, noise, rectangle, write_coco, write_image, write_pairs


def scan(root: Path) -> Scan:
    return scan_dataset(open_dataset(root))


def test_what_a_slice_shows(tmp_path: Path) -> None:
    found = scan(write_coco(tmp_path))
    assert found.names == ["train/0.png", "train/1.png", "train/2.png", "valid/0.png", "valid/1.png", "test/0.png"]
    one = found.slices["train/0.png"]
    assert (one.issues, one.size, one.kind) == ((), "60 x 40", "grey 8-bit")
    assert one.tumor_share == pytest.approx(20 * 15 / 2400)
    assert one.small is not None
    assert one.small.shape == (32, 32)


def test_a_slice_that_cannot_be_read_has_issues_alone_and_resembles_nothing(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    (root / "train" / "1.png").write_bytes(b"no image")
    dataset = open_dataset(root)
    (root / "train" / "2.png").unlink()
    found = scan_dataset(dataset)
    assert [found.slices[f"train/{n}.png"].issues[0].code for n in (1, 2)] == ["unreadable-image", "missing-image"]
    assert (found.slices["train/1.png"].digest, found.slices["train/1.png"].tumor_share) == (None, None)
    norms = np.linalg.norm(found.vectors, axis=1)
    assert norms.tolist() == pytest.approx([1, 0, 0, 1, 1, 1])


def test_copies_are_found_by_their_place(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 6)
    write_image(root / "images" / "s004.png", noise(seed=1))
    found = scan(root)
    (first,), (second,) = found.pairs.first.tolist(), found.pairs.second.tolist()
    assert {found.names[first], found.names[second]} == {"images/s001.png", "images/s004.png"}


def test_an_issue_names_its_annotation(tmp_path: Path) -> None:
    root = write_coco(tmp_path, annotations=[annotation(7, 0, [rectangle(1, 1, 2, 2)])])
    (issue,) = scan(root).slices["train/0.png"].issues
    assert (issue.code, issue.annotation) == ("tiny-annotation", 7)
