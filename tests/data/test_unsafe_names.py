from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.records import image_files
from tests.data.builders import noise, write_coco, write_image, write_json, write_pairs
from tests.data.readers.test__nifti_slices import save, volume, write_volumes
from tests.data.readers.test_dicom import write_patients
from tests.data.readers.test_figshare import write_set

_OPENED: list[str] = []
_WATCHED: list[Path] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _WATCHED and isinstance(arguments[0], str | bytes | os.PathLike):
        path = Path(os.fsdecode(arguments[0])).absolute()
        if path.resolve().is_relative_to(_WATCHED[0]):
            _OPENED.append(str(path))


sys.addaudithook(_watch)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder outside of the dataset, of which no file may be opened."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    yield folder
    _WATCHED.clear()
    _OPENED.clear()


def _nnunet(root: Path) -> Path:
    for number in range(3):
        image, mask = volume(number)
        save(root / "imagesTr" / f"c{number}_0000.nii.gz", image)
        save(root / "labelsTr" / f"c{number}.nii.gz", mask)
    write_json(root, {"channel_names": {"0": "T1"}}).rename(root / "dataset.json")
    return root


def _brats(root: Path) -> Path:
    for number in range(3):
        image, mask = volume(number)
        save(root / f"p{number}" / f"p{number}-t2f.nii.gz", image)
        save(root / f"p{number}" / f"p{number}-seg.nii.gz", mask)
    return root


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "volumes": (write_volumes, "images/v1.nii.gz"),
    "masks of volumes": (write_volumes, "masks/v1_seg.nii"),
    "nnU-Net volumes": (_nnunet, "imagesTr/c1_0000.nii.gz"),
    "nnU-Net labels": (_nnunet, "labelsTr/c1.nii.gz"),
    "nnU-Net description": (_nnunet, "dataset.json"),
    "BraTS volumes": (_brats, "p1/p1-t2f.nii.gz"),
    "BraTS masks": (_brats, "p1/p1-seg.nii.gz"),
    "DICOM segmentations": (write_patients, "P1/seg/seg.dcm"),
    "MATLAB files": (write_set, "brainTumorDataPublic_0/2.mat"),
    "annotation files": (write_coco, "train/_annotations.coco.json"),
    "images": (write_coco, "train/1.png"),
}


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


class TestNothingElsewhereIsOpened:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("of", ["file", "folder"])
    def test_by_any_reader(self, tmp_path: Path, elsewhere: Path, layout: str, of: str) -> None:
        write, name = LAYOUTS[layout]
        root = write(tmp_path / "dataset")
        moved = root / name if of == "file" else (root / name).parent
        if moved == root:
            pytest.skip("the folder is the dataset itself")
        moved.rename(elsewhere / moved.name)
        moved.symlink_to(elsewhere / moved.name)
        _WATCHED.append(elsewhere)
        dataset = open_dataset(root)
        # Links to patients' folders are not followed: nothing is known of what lies in them.
        assert {one.code for one in dataset.errors} == {"unsafe-path"} or moved.name in ("p1", "seg")
        assert not any(one.image.resolve().is_relative_to(elsewhere) for one in dataset)
        assert _OPENED == []
