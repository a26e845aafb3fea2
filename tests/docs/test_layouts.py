"""The pictures of folders in docs/your-data.md: a dataset that is laid out like one is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.volumes.dicom_series import read_series
from bts_tune.registry import READERS
from tests.data.builders import annotation, coco_content, noise, rectangle, write_image, write_json
from tests.data.readers.test_figshare import square, write_slice
from tests.data.volumes.dicoms import stack, write_series
from tests.docs.pages import ROOT, Block, blocks

PICTURES = [block for block in blocks(ROOT / "docs" / "your-data.md") if block.mark.startswith("layout: ")]


def files(picture: str) -> Iterator[Path]:
    """Yield the path of each file in a picture of a folder."""
    above: list[str] = []
    for line in picture.splitlines()[1:]:
        match = re.match(r"((?:│   |    )*)(?:├── |└── )(\S+)$", line)
        assert match, line
        depth, name = len(match[1]) // 4, match[2]
        above = [*above[:depth], name]
        if not name.endswith("/"):
            yield Path(*above)


def write(root: Path, picture: str) -> None:
    """Make the files of a picture, each as what its name says that it is."""
    for number, name in enumerate(sorted(files(picture), key=lambda name: (name.suffix == ".gz", name))):
        path, is_mask = root / name, re.search(r"mask|seg|labelsTr|drawn|SegmentationClass", str(name)) is not None
        image, mask = stack(number)
        if path.suffix in (".png", ".tif", ".jpg"):
            write_image(path, square() * 255 if is_mask else noise(seed=number))
        elif path.name == "_annotations.coco.json":
            (image_file,) = (other.name for other in files(picture) if other.parent == name.parent and other != name)
            entry = {"id": 0, "file_name": image_file, "width": 60, "height": 40}
            write_json(path.parent, coco_content([entry], [annotation(0, 0, [rectangle(10, 5, 20, 15)])]))
        elif path.name == "dataset.json":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                '{"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumor": 1}, "file_ending": ".png"}'
            )
        elif path.name == "IM000.dcm":
            shown = sorted(other.name for other in files(picture) if other.parent == name.parent)
            written = write_series(path.parent, image, patient=name.parts[0])
            assert shown == [file.name for file in written][: len(shown)]
        elif path.suffix == ".gz":
            path.parent.mkdir(parents=True, exist_ok=True)
            series = sorted(path.parent.glob("t1/*.dcm"))
            affine = read_series(series).affine if series else np.eye(4)
            content = mask if is_mask else image.astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(content.transpose(2, 1, 0), affine), path)
        elif path.suffix == ".csv":
            rows = [
                f"scans/s0{one}.png,drawn/s0{one}.png,P0{one},{split}" for one, split in ((1, "train"), (2, "valid"))
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["image,mask,patient,split", *rows]))
        elif path.suffix == ".txt":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text({"train": "s01\n", "val": "s02\n"}[path.stem])
        elif path.suffix == ".mat":
            write_slice(path, noise(seed=number), square(), patient=f"10{number}")
        else:
            assert path.suffix == ".dcm", name


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: f"{picture.line}-{picture.mark}")
def test_a_folder_like_the_picture_is_read(picture: Block, tmp_path: Path) -> None:
    write(tmp_path, picture.text)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == picture.mark.removeprefix("layout: ")
    assert not [issue for issue in dataset.issues if issue.level == "error"], dataset.issues
    names = " ".join(record.name for record in dataset)
    assert len(dataset) >= 2
    assert all(part in names for part in ("1", "2"))


def test_every_reader_has_a_picture() -> None:
    shown = {picture.mark.removeprefix("layout: ") for picture in PICTURES}
    assert shown == {name for name in READERS.names() if not READERS.is_plugin(name)}
