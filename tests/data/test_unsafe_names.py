from __future__ import annotations

import os
from pathlib import Path

from bts_tune.data.open import open_dataset
from bts_tune.data.records import image_files
from tests.data.builders import noise, write_coco, write_image, write_pairs


class TestLinks:
    def test_within_the_dataset_are_followed(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path / "dataset")
        image = root / "train" / "1.png"
        os.rename(image, root / "kept.png")
        image.symlink_to("../kept.png")
        assert open_dataset(root).issues == ()

    def test_to_the_dataset_itself_is_followed(self, tmp_path: Path) -> None:
        write_coco(tmp_path / "dataset")
        (tmp_path / "link").symlink_to("dataset")
        dataset = open_dataset(tmp_path / "link")
        assert (dataset.issues, len(dataset)) == ((), 6)

    def test_out_of_it_drop_the_slice_and_keep_the_others(self, tmp_path: Path) -> None:
        root = write_pairs(tmp_path / "dataset", 10)
        secret = write_image(tmp_path / "secret.png", noise())
        for kind, name in (("images", "s003.png"), ("masks", "s004.png")):
            (root / kind / name).unlink()
            (root / kind / name).symlink_to(secret)
        dataset = open_dataset(root)
        assert sorted(one.file for one in dataset.errors) == ["images/s003.png", "images/s004.png"]
        assert {one.code for one in dataset.errors} == {"unsafe-path"}
        assert len(dataset) == 8

    def test_to_folders_are_not_searched_for_images(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a" / "b" / "x.png", noise())
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a", target_is_directory=True)
        assert [path.name for path in image_files(tmp_path, recursive=True)] == ["x.png"]


def test_names_that_differ_in_case_are_told_once(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 10)
    for kind in ("images", "masks"):
        os.rename(root / kind / "s005.png", root / kind / "S004.png")
    (issue,) = open_dataset(root).issues
    assert (issue.level, issue.code) == ("warning", "similar-names")
    assert {"images/s004.png", "images/S004.png"} == {issue.file, issue.message.split()[4]}


def test_a_name_that_is_not_utf8_drops_the_slice(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 10)
    for kind in ("images", "masks"):
        os.rename(root / kind / "s005.png", os.fsencode(root / kind) + b"/s\xff.png")
    dataset = open_dataset(root)
    (issue,) = dataset.errors
    assert issue.code == "unsafe-path"
    assert "is not UTF-8" in issue.message
    assert len(dataset) == 9
