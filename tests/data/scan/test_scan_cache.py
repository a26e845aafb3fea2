from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bts_tune.cli.main import main
from bts_tune.config import PreprocessingPart
from bts_tune.data import records
from bts_tune.data.checks.check import check_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import clear, entries
from bts_tune.data.prepared.prepare import bytes_to_prepare, prepare
from bts_tune.data.scan import scan as scan_module
from bts_tune.data.scan import scan_cache, similarity
from bts_tune.data.scan.scan import Scan, scan_dataset
from bts_tune.data.scan.scan_cache import cached_scan
from bts_tune.data.scan.similarity import Pairs, find_similar
from bts_tune.data.splits import leakage
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.data.splits.make import make_split
from tests.data.builders import (
    annotation,
    noise,
    read_json,
    rectangle,
    write_coco,
    write_image,
    write_json,
    write_pairs,
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset with something to find: a file that is no image, a tiny annotation, an image without any."""
    sound = [annotation(0, 0, [rectangle(10, 5, 20, 15)]), annotation(1, 1, [rectangle(1, 1, 3, 2)])]
    root = write_coco(tmp_path / "data", annotations=sound)
    (root / "valid" / "0.png").write_bytes(b"no image")
    return root


def opened(root: Path, cache: Path) -> tuple[Scan, int]:
    """Return a dataset's scan, and how many slices were opened for it."""
    seen: list[int] = []
    scan = cached_scan(open_dataset(root), cache, progress=lambda done, total: seen.append(done))
    return scan, len(seen)


def told(scan: Scan) -> dict[str, dict[str, Any]]:
    def content(array: np.ndarray | None) -> bytes | None:
        return None if array is None else array.tobytes()

    return {
        name: {**vars(one), "signature": content(one.signature), "detail": content(one.detail)}
        for name, one in scan.slices.items()
    }


def test_a_scan_is_kept_and_says_the_same(root: Path, cache: Path) -> None:
    first, count = opened(root, cache)
    again, none = opened(root, cache)
    assert (count, none) == (6, 0)
    assert told(first) == told(again)
    assert told(first) == told(scan_dataset(open_dataset(root)))
    checks = [check_dataset(open_dataset(root), scan=scan) for scan in (first, again)]
    assert checks[0].issues == checks[1].issues
    assert {issue.code for issue in checks[1].issues} >= {"unreadable-image", "tiny-annotation", "no-tumor"}


def test_slices_in_other_splits_are_the_same_slices(root: Path, cache: Path) -> None:
    first, _ = opened(root, cache)
    dataset = open_dataset(root)
    names = [record.name for record in dataset]
    other = dataset.with_splits({name: "valid" if place % 2 else "train" for place, name in enumerate(names)})
    scan = cached_scan(other, cache, progress=lambda done, total: pytest.fail("a slice was opened"))
    assert scan.names == [record.name for record in other] != first.names
    assert all(scan.slices[name].digest == first.slices[name].digest for name in names)


def _pairs_of(scan: Scan) -> set[tuple[str, str, str, bool]]:
    pairs = scan.pairs
    columns = (pairs.first, pairs.second, pairs.orientation, pairs.same_scan)
    return {
        (scan.names[one], scan.names[other], similarity.ORIENTATIONS[turn], told)
        for one, other, turn, told in zip(*(column.tolist() for column in columns), strict=True)
    }


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """A dataset with identical, mirrored and nearly identical images in all splits."""
    root = write_coco(tmp_path / "alike", count=5)
    image = noise(seed=5)
    write_image(root / "train" / "3.png", image)
    write_image(root / "train" / "4.png", image)
    write_image(root / "valid" / "0.png", image[:, ::-1])
    write_image(root / "valid" / "1.png", image[::-1])
    write_image(root / "test" / "0.png", np.maximum(image, 3))
    return root


def test_slices_are_compared_once(alike: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = opened(alike, cache)
    dataset, split = make_split(open_dataset(alike), first)
    assert {pair.relation for pair in measure_leak(dataset, first, np.arange(len(first.names))).pairs} == {"identical"}

    monkeypatch.setattr(scan_module, "find_similar", lambda *_, **__: pytest.fail("slices were compared"))
    monkeypatch.setattr(leakage, "view_slice", lambda *_: pytest.fail("an image was decoded"))
    again, _ = opened(alike, cache)
    assert _pairs_of(again) == _pairs_of(first)
    assert again.fine == first.fine != {}
    assert make_split(open_dataset(alike), again)[1] == split


def test_pairs_are_those_of_the_same_slices_in_another_order(alike: Path, cache: Path) -> None:
    opened(alike, cache)[0].compare()
    dataset = open_dataset(alike)
    names = [record.name for record in dataset]
    turned = dataset.with_splits({name: ("test", "valid", "train")[place % 3] for place, name in enumerate(names)})
    kept, anew = cached_scan(turned, cache), scan_dataset(turned)
    assert kept.names == anew.names != names
    assert _pairs_of(kept) == _pairs_of(anew)
    assert len(_pairs_of(kept)) >= 10
    for scan in (kept, anew):
        measure_leak(turned, scan, np.arange(len(names)))
    assert kept.fine == anew.fine


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_pairs_that_cannot_be_read_are_found_anew(alike: Path, cache: Path, content: bytes) -> None:
    found = _pairs_of(opened(alike, cache)[0])
    (entry,) = entries(cache)
    (entry.folder / "pairs.npz").write_bytes(content)
    assert _pairs_of(opened(alike, cache)[0]) == found
    with np.load(entry.folder / "pairs.npz") as kept:
        assert len(kept["first"]) == len(found)


def test_pairs_of_other_limits_are_found_anew(alike: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(alike, cache)[0].compare()
    monkeypatch.setattr(scan_cache, "LIMITS", (0.5, *similarity.LIMITS[1:]))
    searched = 0

    def counted(*given: Any, **named: Any) -> Pairs:
        nonlocal searched
        searched += 1
        return find_similar(*given, **named)

    monkeypatch.setattr(scan_module, "find_similar", counted)
    opened(alike, cache)[0].compare()
    assert searched == 1


def test_what_another_user_made_is_read_as_the_rest_of_the_entry(alike: Path, cache: Path) -> None:
    opened(alike, cache)[0].compare()
    (entry,) = entries(cache)
    modes = {path.name: path.stat().st_mode for path in entry.folder.iterdir()}
    assert modes["pairs.npz"] == modes["signatures.npy"]
    assert not any(name.startswith(".") for name in modes)


def _change_pixels(root: Path) -> None:
    write_image(root / "train" / "0.png", noise(seed=999))


def _change_annotations(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        content = read_json(root / "train")
        change(content)
        write_json(root / "train", content)

    return edit


@pytest.mark.parametrize(
    "change",
    [
        _change_pixels,
        _change_annotations(lambda content: content["annotations"][0].update(segmentation=[rectangle(9, 5, 20, 15)])),
        _change_annotations(lambda content: content["annotations"][1].update(id=77)),  # issues name it
        _change_annotations(lambda content: content["images"][0].update(width=61)),
        _change_annotations(lambda content: content["annotations"].pop()),
    ],
)
def test_what_has_changed_is_opened_again(root: Path, cache: Path, change: Callable[[Path], None]) -> None:
    opened(root, cache)
    change(root)
    scan, count = opened(root, cache)
    assert count == 6
    assert told(scan) == told(scan_dataset(open_dataset(root)))


def test_masks_and_their_names_count(tmp_path: Path, cache: Path) -> None:
    root = write_pairs(tmp_path / "pairs", 5)
    assert [opened(root, cache)[1] for _ in range(2)] == [5, 0]
    (root / "masks" / "s001.png").rename(root / "masks" / "s001.jpg")
    assert opened(root, cache)[1] == 5
    write_image(root / "masks" / "s002.png", np.zeros((40, 60), np.uint8))
    assert opened(root, cache)[1] == 5


def test_another_version_of_the_check_opens_all_again(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(root, cache)
    monkeypatch.setattr(scan_cache, "_code", lambda: "another")
    assert opened(root, cache)[1] == 6


@pytest.mark.parametrize("file", ["slices.json", "signatures.npy", "details.npy"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\x93NUMPY\x01\x00", None])
def test_a_broken_entry_is_made_anew(root: Path, cache: Path, file: str, content: bytes | None) -> None:
    opened(root, cache)
    (entry,) = entries(cache)
    if content is None:
        (entry.folder / file).unlink()
    else:
        (entry.folder / file).write_bytes(content)
    scan, count = opened(root, cache)
    assert count == 6
    assert told(scan) == told(scan_dataset(open_dataset(root)))
    assert opened(root, cache)[1] == 0


def test_a_dataset_with_a_missing_file_is_scanned_each_time(root: Path, cache: Path) -> None:
    dataset = open_dataset(root)
    (root / "train" / "2.png").unlink()
    for _ in range(2):
        scan = cached_scan(dataset, cache)
        assert [issue.code for issue in scan.slices["train/2.png"].issues] == ["missing-image"]
    assert entries(cache) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_a_cache_to_write_to_nothing_is_kept(root: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert opened(root, locked / "cache")[1] == 6


def test_a_cache_that_is_a_file_keeps_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert [opened(root, tmp_path / "file")[1] for _ in range(2)] == [6, 6]


def test_the_cache_lists_and_clears_it(root: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(root, cache)
    (entry,) = entries(cache)
    assert (entry.dataset, entry.holds, entry.preprocessing) == (str(root), "data check", {})
    assert main(["data", "cache", "--cache", str(cache)]) == 0
    assert f"data check  {root}" in capsys.readouterr().out
    assert clear(cache).removed == 1
    assert opened(root, cache)[1] == 6


def test_the_check_says_the_same_the_second_time(root: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for _ in range(2):
        assert main(["data", "check", str(root), "--verbose", "--cache", str(cache)]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "unreadable-image" in said[0]
    (entry,) = entries(cache)
    assert json.loads((entry.folder / "slices.json").read_bytes()).keys() == {
        *(f"train/{n}.png" for n in range(3)),
        *(f"valid/{n}.png" for n in range(2)),
        "test/0.png",
    }


def test_every_file_is_hashed_once_whatever_is_made_from_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(write_coco(tmp_path / "sound"))
    hashed: list[Path] = []
    digest = records._file_digest

    def counted(path: Path) -> str:
        hashed.append(path)
        return digest(path)

    monkeypatch.setattr(records, "_file_digest", counted)
    cached_scan(dataset, cache)
    other = dataset.with_splits({record.name: record.split for record in dataset})
    for equalization in ("none", "clahe"):
        part = PreprocessingPart(image_size=32, equalization=equalization)
        bytes_to_prepare(other, part, cache=cache)
        prepare(other, part, cache=cache)
    assert other.fingerprint() == open_dataset(tmp_path / "sound").fingerprint()
    other.fingerprint(splits=False)
    assert sorted(hashed[:6]) == sorted(record.image for record in dataset)
    assert len(hashed) == 12  # six of them for the dataset that was opened anew
