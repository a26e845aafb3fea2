from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts_tune.data.files import leads_out, open_file, read_file
from bts_tune.data.open import open_dataset
from bts_tune.data.records import image_files
from bts_tune.errors import DataError
from tests.data.builders import noise, write_coco, write_image, write_pairs


class TestLinks:
    def test_within_the_dataset_are_followed(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path / "dataset")
        image = root / "train" / "1.png"
        os.rename(image, root / "kept.png")
        image.symlink_to("../kept.png")
        assert open_dataset(root).findings == ()

    def test_to_the_dataset_itself_is_followed(self, tmp_path: Path) -> None:
        write_coco(tmp_path / "dataset")
        (tmp_path / "link").symlink_to("dataset")
        dataset = open_dataset(tmp_path / "link")
        assert (dataset.findings, len(dataset)) == ((), 6)

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

    def test_in_a_loop_lead_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        assert not leads_out(tmp_path, tmp_path / "a")
        with pytest.raises(DataError, match="Too many levels of symbolic links"):
            read_file(tmp_path / "a")


class TestFiles:
    def test_are_read_whole(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"\x00abc")
        assert read_file(tmp_path / "a") == b"\x00abc"

    @pytest.mark.timeout(10)
    def test_a_pipe_without_a_writer_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="pipe: is not a regular file"):
            open_file(tmp_path / "pipe")

    def test_a_device_without_end_is_refused(self) -> None:
        with pytest.raises(DataError, match="/dev/zero: is not a regular file"):
            read_file(Path("/dev/zero"))

    def test_a_gigantic_file_is_refused_by_its_size(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        os.truncate(tmp_path / "a", 2**40)
        with pytest.raises(DataError, match="has 1099511627776 bytes"):
            read_file(tmp_path / "a")


def test_names_that_differ_in_case_are_told_once(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 10)
    for kind in ("images", "masks"):
        os.rename(root / kind / "s005.png", root / kind / "S004.png")
    (finding,) = open_dataset(root).findings
    assert (finding.level, finding.code) == ("warning", "similar-names")
    assert {"images/s004.png", "images/S004.png"} == {finding.file, finding.message.split()[4]}
