from __future__ import annotations

import json
from pathlib import Path

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.errors import DataError
from tests.data.builders import (
    annotation,
    coco_content,
    noise,
    rectangle,
    write_image,
    write_pairs,
)

HEIGHT, WIDTH = 40, 60


class TestLayouts:
    """Where annotation files and images lie in other exports than Roboflow's."""

    def write(self, root: Path, json_name: str, image_name: str, *, listed: str = "{number}.png") -> None:
        """Write three images with a rectangle each."""
        images, annotations = [], []
        for number in range(3):
            write_image(root / image_name.format(number=number), noise(HEIGHT, WIDTH, number))
            name = listed.format(number=number)
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            annotations.append(annotation(number, number, [rectangle(10, 5, 20, 15 + number)]))
        file = root / json_name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(coco_content(images, annotations)))

    @pytest.mark.parametrize(
        ("json_name", "image_name", "names"),
        [
            ("annotations/instances_{}.json", "images/{}/{{number}}.png", ("train", "val")),
            ("annotations/instances_{}.json", "{}/{{number}}.png", ("train2017", "val2017")),
            ("annotations/instances_{}.json", "images/{}/{{number}}.png", ("Train", "Validation")),
            ("annotations/{}.json", "{}/images/{{number}}.png", ("training", "dev")),
            ("{}.json", "images/{}-{{number}}.png", ("train", "val")),
            ("{}_annotations.coco.json", "{}/{{number}}.png", ("train", "valid")),
            ("{}/annotations.json", "{}/images/{{number}}.png", ("train", "val")),
            ("{}/annotations/instances_default.json", "{}/images/{{number}}.png", ("train", "val")),
            ("{}/_annotations.coco.json", "{}/images/{{number}}.png", ("Train", "Valid")),
        ],
    )
    def test_with_splits(self, tmp_path: Path, json_name: str, image_name: str, names: tuple[str, str]) -> None:
        for name in names:
            listed = f"{name}-{{number}}.png" if image_name.startswith("images/{}-") else "{number}.png"
            self.write(tmp_path, json_name.format(name), image_name.format(name), listed=listed)
        dataset = open_dataset(tmp_path)
        assert (dataset.layout, dataset.issues, dataset.needs_splitting) == ("coco", (), False)
        assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [3, 3, 0]
        for record in dataset:
            assert read_mask(record).sum() == 20 * (15 + int(record.image_id))

    @pytest.mark.parametrize(
        ("json_name", "listed"),
        [
            ("result.json", "images/{number}.png"),
            ("result.json", "images\\{number}.png"),
            ("result.json", "../../upload/1/{number}.png"),
            ("result.json", "..\\..\\label-studio\\upload\\1\\{number}.png"),
            ("result.json", "../../../../../../etc/{number}.png"),
            ("export-2026-01-31.json", "{number}.png"),
            ("dataset.json", "{number}.png"),
            ("annotations/instances_default.json", "{number}.png"),
            ("annotations.json", "images/{number}.png"),
            ("_annotations.coco.json", "{number}.png"),
            ("my_project.coco.json", "{number}.png"),
        ],
    )
    def test_one_file_for_all_images_waits_to_be_split(self, tmp_path: Path, json_name: str, listed: str) -> None:
        root = tmp_path / "a" / "b" / "dataset"
        self.write(root, json_name, "images/{number}.png", listed=listed)
        dataset = open_dataset(root)
        assert (dataset.layout, dataset.errors, dataset.own_splits) == ("coco", (), ())
        assert [record.name for record in dataset.records["train"]] == [f"images/{number}.png" for number in range(3)]

    def test_two_files_for_one_split_are_refused(self, tmp_path: Path) -> None:
        for name in ("instances_train.json", "instances_train2.json"):
            self.write(tmp_path, f"annotations/{name}", "images/train/{number}.png")
        with pytest.raises(
            DataError, match=r"instances_train\.json and .*train2\.json may each be the annotations of train"
        ):
            open_dataset(tmp_path)

    def test_other_json_files_are_no_annotations(self, tmp_path: Path) -> None:
        write_pairs(tmp_path, 4)
        for name in ("dataset.json", "package.json", "train.json", "annotations.json"):
            (tmp_path / name).write_text("{}")
        assert open_dataset(tmp_path).layout == "folders"
