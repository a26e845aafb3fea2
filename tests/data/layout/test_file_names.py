from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.layout.file_names import FileNames
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from tests.data.builders import (
    annotation,
    coco_content,
    noise,
    read_json,
    rectangle,
    write_coco,
    write_image,
    write_json,
)

HEIGHT, WIDTH = 40, 60


class TestFileNames:
    """Names that nearly are those of files."""

    def write(self, root: Path, listed: str, on_disk: str) -> Path:
        for split in ("train", "valid"):
            images, annotations = [], []
            for number in range(3):
                write_image(root / split / on_disk.format(number, split), noise(HEIGHT, WIDTH, number))
                images.append(
                    {"id": number, "file_name": listed.format(number, split), "width": WIDTH, "height": HEIGHT}
                )
                annotations.append(annotation(number, number, [rectangle(10, 5, 20, 15 + number)]))
            write_json(root / split, coco_content(images, annotations))
        return root

    @pytest.mark.parametrize(
        ("listed", "on_disk", "why"),
        [
            ("images\\{}.png", "images/{}.png", "backslashes"),
            ("{1}/{0}.png", "{}.png", "relative to the dataset's folder"),
            ("data/{}.png", "{}.png", "other folders"),
            ("{}.png", "scans/of/{}.png", "other folders"),
            ("C:\\Users\\me\\{}.png", "{}.png", "backslashes, other folders"),
            ("http://localhost:8080/data/{}.png?x=1", "{}.png", "other folders"),
            ("{}.PNG", "{}.png", "letter case"),
            ("{}.jpg", "{}.png", "another suffix"),
            ("M\u00fcller {}.png", "Mu\u0308ller {}.png", "accents put together otherwise"),
            ("a%20b{}.png", "a b{}.png", "escaped characters"),
        ],
    )
    def test_the_one_file_that_fits_is_read_and_that_is_said_once(
        self, tmp_path: Path, listed: str, on_disk: str, why: str
    ) -> None:
        dataset = open_dataset(self.write(tmp_path, listed, on_disk))
        assert dataset.errors == ()
        for record in dataset:
            assert record.name == f"{record.split}/{on_disk.format(record.image_id, record.split)}"
            assert read_mask(record).sum() == 20 * (15 + int(record.image_id))
        said = [issue for issue in dataset.issues if issue.code == "resolved-names"]
        assert [(issue.level, issue.file) for issue in said] == [
            ("warning", f"{split}/_annotations.coco.json") for split in ("train", "valid")
        ]
        assert "3 of its 3 file names" in said[0].message
        assert f"({why})" in said[0].message
        assert len(dataset.issues) == 2

    def test_names_relative_to_the_folder_of_images_are_usual(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.write(tmp_path, "{}.png", "images/{}.png"))
        assert (dataset.issues, dataset.records["train"][0].name) == ((), "train/images/0.png")

    def test_a_name_that_is_a_files_stays_that_files(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, "{}.png", "{}.png")
        write_image(root / "train" / "0.jpg", noise())
        (issue,) = open_dataset(root).issues
        assert (issue.code, issue.file) == ("unlisted-file", "train/0.jpg")

    def test_where_two_files_fit_none_is_taken(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, "{}.png", "a/{}.png")
        write_image(root / "train" / "b" / "1.png", noise())
        dataset = open_dataset(root)
        (error,) = dataset.errors
        assert (error.code, error.file) == ("missing-image", "train/1.png")
        assert "several files or entries fit its name (train/a/1.png, train/b/1.png)" in error.message
        assert [record.image_id for record in dataset.records["train"]] == [0, 2]

    def test_where_two_entries_mean_one_file_none_gets_it(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, "{}.png", "{}.png")
        content = read_json(root / "train")
        content["images"][0]["file_name"], content["images"][1]["file_name"] = "x/2.PNG", "y/2.PNG"
        content["images"].pop()
        content["annotations"].pop()
        write_json(root / "train", content)
        (error,) = open_dataset(root).errors
        assert error.code == "missing-image"
        assert "2 of 2 images" in error.message

    def test_all_names_missing_are_one_error_with_the_likely_cause(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, "scan_{}.png", "renamed-{}.png")
        errors = open_dataset(root).errors
        assert [error.code for error in errors] == ["missing-image", "missing-image"]
        assert (
            "3 image files that no entry lists, such as train/renamed-0.png: were files renamed?" in errors[0].message
        )

    def test_no_image_at_all(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, "{}.png", "{}.png")
        for path in (root / "valid").glob("*.png"):
            path.unlink()
        (error,) = open_dataset(root).errors
        assert "valid/ holds no image file at all" in error.message

    @pytest.mark.parametrize("folder", ["/content/data", "/home/me", ""])
    def test_a_path_of_another_machine_is_the_file_of_its_name(self, tmp_path: Path, folder: str) -> None:
        dataset = open_dataset(self.write(tmp_path, folder + "/{}.png", "{}.png"))
        assert dataset.errors == ()
        assert [record.name for record in dataset.records["train"]] == [f"train/{number}.png" for number in range(3)]

    def test_names_that_lead_out_are_one_error(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, count=6)
        content = read_json(root / "train")
        for image in content["images"][:5]:
            image["file_name"] = f"/content/other-{image['file_name']}"
        content["annotations"] = content["annotations"][5:]
        write_json(root / "train", content)
        (error,) = open_dataset(root).errors
        assert error.code == "unsafe-path"
        assert "and so are 4 more of 6" in error.message


def test_a_file_is_given_to_one_name_alone(tmp_path: Path) -> None:
    files = [write_image(tmp_path / "images" / name, noise()) for name in ("a.png", "B.PNG", "c.png")]
    names = FileNames(tmp_path, tmp_path, [tmp_path / "images"], files)
    written = ["a.png", "b.png", "x/c.png", "y/c.png", "d.png"]
    assert names.resolve([(one, one) for one in written]) == {"a.png": "images/a.png", "b.png": "images/B.PNG"}
    assert names.resolved
    assert names.said(5) == "1 of its 5 file names read as the one file that nearly fits: 'b.png' as images/B.PNG " + (
        "(letter case)."
    )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_in_another_patients_folder_is_another_image(tmp_path: Path, suffix: str) -> None:
    images, annotations = [], []
    for number in range(1, 4):
        images.append({"id": number, "file_name": f"P{number}/1.{suffix}", "width": WIDTH, "height": HEIGHT})
        annotations.append(annotation(number, number, [rectangle(10, 5, 20, 15)]))
        # The second patient's image is gone, and one of a fourth is listed nowhere.
        write_image(tmp_path / "train" / f"P{number if number != 2 else 4}" / "1.png", noise(HEIGHT, WIDTH, number))
    write_json(tmp_path / "train", coco_content(images, annotations))
    dataset = open_dataset(tmp_path)
    assert [issue.code for issue in dataset.errors] == ["missing-image"]
    assert {record.name for record in dataset if record.image.is_file()} == {"train/P1/1.png", "train/P3/1.png"}


def test_the_last_folders_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    files = [write_image(tmp_path / folder / "s0.png", noise()) for folder in ("scans/a", "scans/b", "drawn/a")]
    names = FileNames(tmp_path, tmp_path, [tmp_path], files)
    written = ["/home/me/scans/a/s0.jpg", "D:\\data\\scans\\b\\s0.png", "/mnt/drawn/a/s0.png", "/mnt/other/s0.png"]
    found = names.resolve([(one, one.lstrip("/")) for one in written])
    assert found == {
        "home/me/scans/a/s0.jpg": "scans/a/s0.png",
        "D:\\data\\scans\\b\\s0.png": "scans/b/s0.png",
        "mnt/drawn/a/s0.png": "drawn/a/s0.png",
    }
