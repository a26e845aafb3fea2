from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.readers.coco import CocoReader, choose_categories
from bts_tune.data.records import Annotation
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import (
    annotation,
    coco_content,
    compressed,
    noise,
    read_json,
    rectangle,
    uncompressed,
    write_coco,
    write_image,
    write_json,
    write_pairs,
)

HEIGHT, WIDTH = 40, 60


def issues_of(root: Path, *annotations: dict[str, Any]) -> list[tuple[str, str, int | str | None, str]]:
    """Write annotations of image 0, and return level, code, annotation and message of what is found."""
    dataset = open_dataset(write_coco(root, annotations=annotations))
    assert all(issue.file in ("train/0.png", "train/_annotations.coco.json") for issue in dataset.issues)
    return [(one.level, one.code, one.annotation, one.message) for one in dataset.issues]


class TestCoco(ReaderContract):
    @pytest.fixture
    def reader(self) -> CocoReader:
        return CocoReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_coco(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        return write_coco(tmp_path / "dataset", annotations=[annotation(1, 0, None)])


KNOWN = {0: "Tumor", 1: "0", 2: "1", 3: "oedema", 4: "oedema"}


class TestCategories:
    @pytest.mark.parametrize(
        ("wanted", "ids"),
        [
            (None, (0, 1, 2, 3, 4)),
            (["Tumor"], (0,)),
            (["0"], (1,)),
            (["1"], (2,)),
            (["2"], (2,)),
            (["id:0"], (0,)),
            (["name:0"], (1,)),
            (["oedema"], (3, 4)),
            (["id:4", "Tumor"], (0, 4)),
        ],
    )
    def test_are_chosen_by_name_then_by_id(self, wanted: list[str] | None, ids: tuple[int, ...]) -> None:
        assert choose_categories(wanted, KNOWN) == ids

    @pytest.mark.parametrize("word", ["tumour", "9", "id:Tumor", "name:2", ""])
    def test_an_unknown_one_is_refused_with_the_known_ones(self, word: str) -> None:
        with pytest.raises(DataError, match=r"Known \(id, name\): 0 'Tumor', 1 '0'"):
            choose_categories([word], KNOWN)

    def test_none_chosen(self) -> None:
        with pytest.raises(DataError, match="none is given"):
            choose_categories([], KNOWN)

    def test_only_chosen_ones_are_drawn_but_all_are_counted(self, tmp_path: Path) -> None:
        annotations = [
            annotation(1, 0, [rectangle(0, 0, 5, 5)], category=1),
            annotation(2, 0, [rectangle(20, 20, 6, 6)], category=2),
        ]
        root = write_coco(tmp_path, annotations=annotations)
        dataset = open_dataset(root, tumor_categories=["id:2"])
        assert read_mask(dataset.records["train"][0]).sum() == 36
        assert dataset.annotation_counts["train"] == {1: 1, 2: 1}
        assert read_mask(open_dataset(root).records["train"][0]).sum() == 25 + 36

    def test_an_id_must_mean_the_same_in_all_splits(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "valid")
        content["categories"][1]["name"] = "cyst"
        write_json(root / "valid", content)
        with pytest.raises(DataError, match=r"valid/_annotations.*id 1 is named 'cyst' here and '0'"):
            open_dataset(root)


class TestReading:
    def test_a_byte_order_mark_changes_nothing(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        plain = open_dataset(root)
        write_json(root / "train", read_json(root / "train"), bom=True)
        assert open_dataset(root) == plain

    def test_a_record_holds_what_the_file_says(self, tmp_path: Path) -> None:
        polygon = rectangle(1, 2, 3, 4)
        root = write_coco(tmp_path, annotations=[{**annotation(7, 1, [polygon], 2), "bbox": [1, 2, 3, 4]}])
        record = open_dataset(root).records["train"][1]
        assert (record.name, record.image, record.image_id) == ("train/1.png", root / "train" / "1.png", 1)
        assert (record.width, record.height, record.mask) == (WIDTH, HEIGHT, None)
        assert record.annotations == (Annotation(7, 2, [polygon], (1, 2, 3, 4)),)

    def test_images_below_the_split_and_in_other_folders_of_the_dataset(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "test")
        content["images"] = [{"id": 0, "file_name": "../train/./0.png", "width": WIDTH, "height": HEIGHT}]
        write_json(root / "test", content)
        (record,) = open_dataset(root).records["test"]
        assert record.name == "train/0.png"

    @pytest.mark.parametrize(
        "name", ["../../secret.png", "/etc/passwd", "../..", "a\0b.png", "\ud800.png", "a/../../../x"]
    )
    def test_a_file_name_that_leaves_the_dataset_is_refused(self, tmp_path: Path, name: str) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        content["images"][1]["file_name"] = name
        content["annotations"] = []
        write_json(root / "train", content)
        if name == "\ud800.png":
            with pytest.raises(DataError, match=r"images\[1\]\.file_name"):
                open_dataset(root)
            return
        dataset = open_dataset(root)
        (issue,) = dataset.errors
        assert (issue.code, issue.file) == ("unsafe-path", "train/_annotations.coco.json")
        assert issue.message.startswith("images[1]: file_name")
        assert len(dataset.records["train"]) == 2

    @pytest.mark.parametrize(
        ("path", "value", "sentence"),
        [
            (["images"], None, "images: input should be a valid list"),
            (["annotations"], {}, "annotations: input should be a valid list"),
            (["categories"], 3, "categories: input should be a valid list"),
            (["categories", 0, "id"], "0", r"categories\[0\]\.id: input should be a valid integer"),
            (["images", 2, "width"], "60", r"images\[2\]\.width"),
            (["images", 2, "height"], 0, r"images\[2\]\.height: input should be greater than or equal to 1, got 0"),
            (["images", 2, "file_name"], 5, r"images\[2\]\.file_name"),
            (["annotations", 1], 5, r"annotations\[1\]: input should be a valid dictionary"),
        ],
    )
    def test_a_broken_structure_names_file_and_field(
        self, tmp_path: Path, path: list[Any], value: Any, sentence: str
    ) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        place = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        file = write_json(root / "train", content)
        with pytest.raises(DataError, match=f"^{file}: {sentence}"):
            open_dataset(root)

    @pytest.mark.parametrize("field", ["images", "annotations", "categories"])
    def test_a_missing_list(self, tmp_path: Path, field: str) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        del content[field]
        write_json(root / "train", content)
        with pytest.raises(DataError, match=rf"\.json: {field}: field required"):
            open_dataset(root)

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (b"", "is not JSON"),
            (b'{"images": [', "is not JSON"),
            (b"\xff\xfe\x00", "is not JSON"),
            (b"[" * 200_000, "nested too deeply"),
            (b"[]", "holds a list"),
            (b"9" * 5000, "is not JSON"),
        ],
    )
    def test_not_a_coco_file(self, tmp_path: Path, data: bytes, sentence: str) -> None:
        root = write_coco(tmp_path)
        (root / "valid" / "_annotations.coco.json").write_bytes(data)
        with pytest.raises(DataError, match=f"valid/_annotations.coco.json: .*{sentence}"):
            open_dataset(root)

    def test_unlisted_files_are_named(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        (root / "train" / "extra.jpg").write_bytes(b"")
        (root / "train" / "README.txt").write_bytes(b"")
        (issue,) = open_dataset(root).issues
        assert (issue.level, issue.code, issue.file) == ("warning", "unlisted-file", "train/extra.jpg")

    @pytest.mark.parametrize(("field", "value"), [("id", 0), ("file_name", "0.png")])
    def test_an_image_listed_twice_is_an_error(self, tmp_path: Path, field: str, value: Any) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        content["images"][2][field] = value
        content["annotations"] = []
        write_json(root / "train", content)
        assert [one.code for one in open_dataset(root).errors] == ["duplicate-image"]

    def test_an_absurd_declared_size_is_an_error(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        content["images"][0].update(width=10**6, height=10**6)
        write_json(root / "train", content)
        assert "too-large" in [one.code for one in open_dataset(root).errors]


class TestBrokenAnnotations:
    @pytest.mark.parametrize(
        ("segmentation", "sentence"),
        [
            (None, "segmentation is missing; a box alone is not drawn"),
            ([], "segmentation is missing"),
            ([[]], r"segmentation[0] is empty"),
            ([[1, 2, 3, 4, 5, 6, 7]], "segmentation[0] has 7 numbers; x and y must come in pairs"),
            ([1, 2, 3, 4, 5, 6], "segmentation[0]: input should be a valid list, got 1"),
            ([[1, 2, "x", 4, 5, 6]], "segmentation[0][2]: input should be a valid number, got 'x'"),
            ("polygon", "valid list"),
            ([[float("nan"), 2, 3, 4, 5, 6]], "finite"),
            ([[float("inf"), 2, 3, 4, 5, 6]], "finite"),
            ([[10**400, 2, 3, 4, 5, 6]], "annotations[0]"),
            ([rectangle(1e9, 1e9, 5, 5)], "lies outside the image of 60 x 40 pixels"),
            ([rectangle(60, 0, 5, 5)], "lies outside the image"),
            ([rectangle(-9, 0, 9, 5)], "lies outside the image"),
            ([[-1e300, 0, 1e300, 0, 5, 5]], "lies outside the image"),
            ({"size": [HEIGHT, WIDTH]}, "segmentation.counts: field required"),
            ({"size": [WIDTH, HEIGHT], "counts": [2400]}, "segmentation.size is [60, 40], the image's is [40, 60]"),
            ({"size": [HEIGHT, WIDTH], "counts": [2399]}, "do not add up to the 2400 pixels"),
            ({"size": [HEIGHT, WIDTH], "counts": [2401]}, "do not add up"),
            ({"size": [HEIGHT, WIDTH], "counts": []}, "do not add up"),
            ({"size": [HEIGHT, WIDTH], "counts": [-1, 2401]}, "greater than or equal to 0"),
            ({"size": [HEIGHT, WIDTH], "counts": ""}, "do not add up"),
            ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooo"}, "do not add up"),
            ({"size": [HEIGHT, WIDTH], "counts": 5}, "segmentation.counts: input should be a valid list, got 5"),
        ],
    )
    def test_each_is_an_error_that_names_file_and_annotation(
        self, tmp_path: Path, segmentation: Any, sentence: str
    ) -> None:
        ((level, code, number, message),) = issues_of(tmp_path, annotation(41, 0, segmentation))
        assert (level, code, number) == ("error", "broken-annotation", 41)
        assert message.startswith("annotations[0]: ")
        assert sentence in message
        assert message.endswith(".")

    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("image_id", 77, "image_id 77 is not the id of an image"),
            ("category_id", 77, "category_id 77 is not the id of a category"),
            ("category_id", "1", "category_id: input should be a valid integer"),
            ("image_id", None, "image_id: input should be a valid integer, got None"),
        ],
    )
    def test_links_to_nothing(self, tmp_path: Path, field: str, value: Any, sentence: str) -> None:
        broken = {**annotation(41, 0, [rectangle(1, 1, 5, 5)]), field: value}
        ((_, code, number, message),) = issues_of(tmp_path, broken)
        assert (code, number) == ("broken-annotation", 41)
        assert sentence in message

    def test_an_image_s_id_as_text_is_the_number_that_annotations_name_and_the_reverse(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, annotations=[annotation(1, 0, [rectangle(1, 1, 5, 5)])])
        file = root / "train" / "_annotations.coco.json"
        content = json.loads(file.read_text())
        for of_images, of_annotations in ((str, int), (int, str)):
            for image in content["images"]:
                image["id"] = of_images(image["id"])
            for one in content["annotations"]:
                one["image_id"] = of_annotations(one["image_id"])
            file.write_text(json.dumps(content))
            dataset = open_dataset(root)
            assert dataset.issues == ()
            assert [one.annotation_id for one in dataset.records["train"][0].annotations] == [1]

    def test_all_of_them_are_listed_and_the_others_are_kept(self, tmp_path: Path) -> None:
        good = annotation(2, 0, [rectangle(1, 1, 5, 5)])
        broken = [annotation(number, 0, None) for number in (1, 3)]
        root = write_coco(tmp_path, annotations=[broken[0], good, broken[1]])
        dataset = open_dataset(root)
        assert [one.annotation for one in dataset.errors] == [1, 3]
        assert [one.annotation_id for one in dataset.records["train"][0].annotations] == [2]

    def test_one_without_an_id_is_named_by_its_place(self, tmp_path: Path) -> None:
        broken = annotation(0, 0, [rectangle(1, 1, 5, 5)])
        del broken["id"]
        ((_, _, number, message),) = issues_of(tmp_path, annotation(5, 0, [rectangle(1, 1, 5, 5)]), broken)
        assert number is None
        assert message.startswith("annotations[1]: id: field required")

    def test_an_id_used_twice_is_a_warning(self, tmp_path: Path) -> None:
        one = annotation(5, 0, [rectangle(1, 1, 5, 5)])
        assert [found[:3] for found in issues_of(tmp_path, one, one)] == [("warning", "duplicate-annotation-id", 5)]

    def test_a_message_does_not_quote_a_whole_file(self, tmp_path: Path) -> None:
        ((*_, message),) = issues_of(tmp_path, annotation(1, 0, "x" * 10_000))
        assert len(message) < 400


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
            ("annotations/instances_default.json", "{number}.png"),
            ("annotations.json", "images/{number}.png"),
            ("_annotations.coco.json", "{number}.png"),
            ("my_project.coco.json", "{number}.png"),
        ],
    )
    def test_one_file_for_all_images_waits_to_be_split(self, tmp_path: Path, json_name: str, listed: str) -> None:
        root = tmp_path / "a" / "b" / "dataset"
        self.write(root, json_name, "images/{number}.png", listed=listed)
        if ".." in listed:
            assert {one.code for one in open_dataset(root).errors} == {"unsafe-path"}
            return
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

    def test_names_that_lead_out_are_one_error(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, count=6)
        content = read_json(root / "train")
        for image in content["images"][:5]:
            image["file_name"] = f"/content/{image['file_name']}"
        content["annotations"] = content["annotations"][5:]
        write_json(root / "train", content)
        (error,) = open_dataset(root).errors
        assert error.code == "unsafe-path"
        assert "and so are 4 more of 6" in error.message


class TestOutlines:
    """Outlines in another unit than pixels, and points in other forms than a flat list."""

    SIZE = 256
    BOX = (90, 60, 50, 40)

    def issues(self, tmp_path: Path, outline: Any, box: Any = BOX, area: Any = 2000) -> list[str]:
        root = write_coco(tmp_path / "dataset", height=self.SIZE, width=self.SIZE)
        content = read_json(root / "train")
        content["annotations"] = [
            {**annotation(number, number, outline), "bbox": box, "area": area} for number in range(3)
        ]
        write_json(root / "train", content)
        dataset = open_dataset(root)
        if not dataset.issues:
            assert {int(read_mask(record).sum()) for record in dataset.records["train"]} == {2000}
        return [f"{issue.level} {issue.code}" for issue in dataset.issues]

    def outline(self, factor: float = 1.0) -> list[float]:
        return [factor * value for value in rectangle(*self.BOX)]

    def test_pixels_are_not_suspected(self, tmp_path: Path) -> None:
        assert self.issues(tmp_path, [self.outline()]) == []

    @pytest.mark.parametrize(
        ("box", "area"), [(BOX, 2000), (BOX, None), (None, 2000), ([35.2, 23.4, 19.5, 15.6], 2000)]
    )
    def test_percent(self, tmp_path: Path, box: Any, area: Any) -> None:
        assert self.issues(tmp_path, [self.outline(100 / self.SIZE)], box, area) == ["error outlines-not-in-pixels"]

    @pytest.mark.parametrize(("box", "area"), [(BOX, 2000), (None, None), ([0.352, 0.234, 0.195, 0.156], None)])
    def test_shares_of_the_image(self, tmp_path: Path, box: Any, area: Any) -> None:
        assert self.issues(tmp_path, [self.outline(1 / self.SIZE)], box, area) == ["error outlines-not-in-pixels"]

    def test_swapped_coordinates(self, tmp_path: Path) -> None:
        x, y, width, height = self.BOX
        assert self.issues(tmp_path, [rectangle(y, x, height, width)]) == ["error outlines-swapped"]

    def test_outlines_beside_their_boxes(self, tmp_path: Path) -> None:
        assert self.issues(tmp_path, [rectangle(10, 150, 50, 40)]) == ["warning outlines-and-boxes-disagree"]

    @pytest.mark.parametrize("box", ["x", [1, 2, 3], [1, 2, None, 4], [0, 0, 0, 0], [1e300] * 4])
    def test_boxes_that_say_nothing(self, tmp_path: Path, box: Any) -> None:
        assert self.issues(tmp_path, [self.outline()], box, "many") == []

    @pytest.mark.parametrize("form", ["pairs", "rings", "names"])
    def test_points_in_other_forms(self, tmp_path: Path, form: str) -> None:
        points = np.array(self.outline()).reshape(-1, 2).tolist()
        named = [{"x": x, "y": y} for x, y in points]
        assert self.issues(tmp_path, {"pairs": points, "rings": [points], "names": named}[form]) == []


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/x", "0.png", 0, 1, -1, 2400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated_files(draw: st.DrawFn) -> Any:
    """A valid COCO file of polygons and both run-length encodings, with some values replaced, removed or added."""
    square = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    square[3:9, 4:12] = 1
    images = [{"id": index, "file_name": f"{index}.png", "width": WIDTH, "height": HEIGHT} for index in range(2)]
    segmentations = [[rectangle(1, 1, 5, 5)], compressed(square), uncompressed(square)]
    annotations = [annotation(index, index % 2, one) for index, one in enumerate(segmentations)]
    content: Any = copy.deepcopy(coco_content(images, annotations))
    for _ in range(draw(st.integers(1, 3))):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 4)):
                place = place[key]
                continue
            if draw(st.booleans()):
                place[key] = draw(junk)
            else:
                del place[key]
            break
    return content


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)
@given(mutated_files())
def test_a_damaged_file_gives_a_dataset_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged"
    write_json(root / "train", content)
    write_json(root / "valid", coco_content([], []))
    refusal, dataset = "", None
    try:
        dataset = open_dataset(root)
    except DataError as error:
        refusal = str(error)
    if dataset is None:
        assert refusal.startswith(str(root))
        assert "\n" not in refusal
        return
    for record in dataset:
        mask = read_mask(record)
        assert mask.shape == (record.height, record.width)
        assert mask.max() <= 1
        assert np.array_equal(mask, read_mask(record))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "bytes"
    write_json(root / "valid", coco_content([], []))
    (root / "train").mkdir(exist_ok=True)
    (root / "train" / "_annotations.coco.json").write_bytes(data)
    with pytest.raises(DataError):
        open_dataset(root)
