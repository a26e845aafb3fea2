from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

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


def test_folders_of_patients_in_the_names_are_groups(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": f"images/P{number // 2}/{number % 2}.png", "width": WIDTH, "height": HEIGHT}
        for number in range(8)
    ]
    for number, image in enumerate(images):
        write_image(tmp_path / str(image["file_name"]), noise(HEIGHT, WIDTH, number))
    annotations = [annotation(number, number, [rectangle(10, 5, 20, 15)]) for number in range(8)]
    write_json(tmp_path, coco_content(images, annotations))
    dataset = open_dataset(tmp_path)
    assert dataset.errors == ()
    assert [record.group for record in dataset] == ["P0", "P0", "P1", "P1", "P2", "P2", "P3", "P3"]


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
        split_anew = dataset.with_splits({record.name: "valid" for record in dataset})
        assert split_anew.annotation_counts == {"train": {}, "valid": {1: 4, 2: 1}, "test": {}}
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
        content["images"] = [{"id": 0, "file_name": "../more/./0.png", "width": WIDTH, "height": HEIGHT}]
        write_json(root / "test", content)
        write_image(root / "more" / "0.png", noise(HEIGHT, WIDTH))
        (record,) = open_dataset(root).records["test"]
        assert record.name == "more/0.png"

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
            (["categories", 0, "id"], "x", r"categories\[0\]\.id: input should be a valid integer"),
            (["categories", 0, "id"], 0.5, r"categories\[0\]\.id: input should be a valid integer"),
            (["images", 2, "width"], "60 px", r"images\[2\]\.width"),
            (["images", 2, "width"], 60.5, r"images\[2\]\.width"),
            (["images", 2, "height"], -1, r"images\[2\]\.height: input should be greater than or equal to 0, got -1"),
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
            (b"\xff\xfe\x00", "is no text in UTF-8 or UTF-16"),
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

    def test_an_image_in_the_files_of_two_splits_is_an_error(self, tmp_path: Path) -> None:
        for number in range(5):
            write_image(tmp_path / "images" / f"{number}.png", noise(seed=number))
        for split, numbers in (("train", (0, 1, 2, 3)), ("val", (2, 3, 4))):
            images = [{"id": one, "file_name": f"{one}.png", "width": 60, "height": 40} for one in numbers]
            annotations = [annotation(one, one, [rectangle(10, 5, 20, 15)]) for one in numbers]
            path = tmp_path / "annotations" / f"instances_{split}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(coco_content(images, annotations)))
        dataset = open_dataset(tmp_path)
        (error,) = dataset.errors
        assert (error.code, error.file) == ("several-splits", "annotations/instances_val.json")
        assert "lists 2 images that the file of another split lists too (images/2.png, images/3.png)" in error.message
        names = {split: [record.name for record in dataset.records[split]] for split in ("train", "valid")}
        assert names == {"train": [f"images/{one}.png" for one in range(4)], "valid": ["images/4.png"]}

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


class TestNumbers:
    """Numbers as other programs write them."""

    @pytest.mark.parametrize("write", [str, float])
    def test_are_read_as_they_are_meant(self, tmp_path: Path, write: Any) -> None:
        plain, root = open_dataset(write_coco(tmp_path / "plain")), write_coco(tmp_path / "written")
        for split in ("train", "valid", "test"):
            content = read_json(root / split)
            for one in content["categories"]:
                one["id"] = write(one["id"])
            for one in content["images"]:
                one["width"], one["height"] = write(one["width"]), write(one["height"])
            for one in content["annotations"]:
                one["category_id"] = write(one["category_id"])
            write_json(root / split, content)
        written = open_dataset(root)
        assert (written.issues, written.categories) == ((), plain.categories)
        assert written.fingerprint() == plain.fingerprint()


class TestSizes:
    @pytest.mark.parametrize("given", [None, 0, "none"])
    def test_that_are_not_given_are_those_of_the_files_as_they_are_shown(self, tmp_path: Path, given: Any) -> None:
        root = write_coco(tmp_path)
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(noise(HEIGHT, WIDTH)).save(root / "train" / "1.png", exif=exif)
        content = read_json(root / "train")
        for image in content["images"][:2]:
            image["width"] = image["height"] = given
            if given == "none":
                del image["width"], image["height"]
        write_json(root / "train", content)
        dataset = open_dataset(root)
        (warning,) = dataset.issues
        assert (warning.level, warning.code) == ("warning", "no-size")
        assert "of its 3 images 2 have no width and height" in warning.message
        sizes = [(record.width, record.height) for record in dataset.records["train"]]
        assert sizes == [(WIDTH, HEIGHT), (HEIGHT, WIDTH), (WIDTH, HEIGHT)]

    def test_of_a_file_that_tells_none_are_an_error(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        del content["images"][0]["width"]
        write_json(root / "train", content)
        (root / "train" / "0.png").write_bytes(b"no image")
        dataset = open_dataset(root)
        (error,) = dataset.errors
        assert (error.code, error.file) == ("unreadable-image", "train/0.png")
        assert [record.name for record in dataset.records["train"]] == ["train/1.png", "train/2.png"]


class TestBrokenAnnotations:
    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("image_id", 77, "image_id 77 is not the id of an image"),
            ("category_id", 77, "category_id 77 is not the id of a category"),
            ("category_id", "one", "category_id: input should be a valid integer"),
            ("category_id", 1.5, "category_id: input should be a valid integer"),
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

    @pytest.mark.parametrize("write", [float, lambda number: f"{number:04}"])
    def test_an_image_s_id_as_a_table_writes_it(self, tmp_path: Path, write: Any) -> None:
        one = {**annotation(1, 0, [rectangle(1, 1, 5, 5)]), "image_id": write(2)}
        dataset = open_dataset(write_coco(tmp_path, annotations=[one]))
        assert dataset.issues == ()
        assert [len(record.annotations) for record in dataset.records["train"]] == [0, 0, 1]

    def test_an_id_that_two_images_may_mean_is_an_error(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, annotations=[{**annotation(1, 0, [rectangle(1, 1, 5, 5)]), "image_id": "0002"}])
        content = read_json(root / "train")
        content["images"][1]["id"] = "2"
        write_json(root / "train", content)
        (error,) = open_dataset(root).errors
        assert "image_id '0002' is not the id of an image" in error.message

    def test_all_of_them_are_listed_and_the_others_are_kept(self, tmp_path: Path) -> None:
        good = annotation(2, 0, [rectangle(1, 1, 5, 5)])
        broken = [annotation(number, 0, None) for number in (1, 3)]
        root = write_coco(tmp_path, annotations=[broken[0], good, broken[1]])
        dataset = open_dataset(root)
        assert [one.annotation for one in dataset.errors] == [1, 3]
        assert [one.annotation_id for one in dataset.records["train"][0].annotations] == [2]

    def test_one_cause_is_one_error(self, tmp_path: Path) -> None:
        lost = [{**annotation(number, 0, [rectangle(1, 1, 5, 5)]), "image_id": f"x{number}"} for number in range(5)]
        ((level, code, number, message),) = issues_of(tmp_path, *lost, annotation(9, 0, [rectangle(1, 1, 5, 5)]))
        assert (level, code, number) == ("error", "broken-annotation", 0)
        assert message == (
            "annotations[0]: image_id 'x0' is not the id of an image. This is so of 5 of 6 annotations: 0, 1, 2, … and "
            "2 more."
        )

    def test_one_without_an_id_is_known_by_its_place(self, tmp_path: Path) -> None:
        without = annotation(0, 0, None)
        del without["id"]
        drawn = {**without, "segmentation": [rectangle(1, 1, 5, 5)]}
        ((_, _, number, message),) = issues_of(tmp_path, drawn, without, drawn)
        assert number is None
        assert message.startswith("annotations[1]: segmentation is missing")
        (one, other) = open_dataset(tmp_path).records["train"][0].annotations
        assert (one.annotation_id, other.annotation_id) == (0, 2)

    def test_an_id_used_twice_is_a_warning(self, tmp_path: Path) -> None:
        one = annotation(5, 0, [rectangle(1, 1, 5, 5)])
        assert [found[:3] for found in issues_of(tmp_path, one, one)] == [("warning", "duplicate-annotation-id", 5)]

    def test_a_message_does_not_quote_a_whole_file(self, tmp_path: Path) -> None:
        ((*_, message),) = issues_of(tmp_path, annotation(1, 0, "x" * 10_000))
        assert len(message) < 400


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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1"])
def test_encodings_of_annotation_files(tmp_path: Path, encoding: str) -> None:
    root = write_coco(tmp_path)
    content = read_json(root / "train")
    content["info"] = {"contributor": "Müller"}
    text = json.dumps(content, ensure_ascii=False)
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (root / "train" / "_annotations.coco.json").write_bytes(mark + text.encode(encoding))
    if encoding == "latin-1":
        with pytest.raises(
            DataError, match=r"_annotations\.coco\.json: is no text in UTF-8 or UTF-16; save it as UTF-8"
        ):
            open_dataset(root)
    else:
        assert [int(read_mask(record).sum()) for record in open_dataset(root).records["train"]] == [300] * 3


def test_a_project_of_via_is_told(tmp_path: Path) -> None:
    content = {"0.jpg123": {"filename": "0.jpg", "size": 123, "regions": []}}
    for name in ("train", "val"):
        write_image(tmp_path / name / "0.jpg", noise())
        (tmp_path / name / f"annotations_{name}.json").write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"is a project of the VGG Image Annotator \(VIA\); export it from there as COCO"
    ):
        open_dataset(tmp_path)


@pytest.mark.parametrize("kind", ["no file", "no annotations", "no key"])
def test_a_test_split_without_annotations_is_left_out_and_said(tmp_path: Path, kind: str) -> None:
    root = write_coco(tmp_path)
    count = len(list((root / "test").glob("*.png")))
    if kind == "no file":
        (root / "test" / "_annotations.coco.json").unlink()
    else:
        content = {**read_json(root / "test"), "annotations": []}
        if kind == "no key":
            del content["annotations"]
        write_json(root / "test", content)
    dataset = open_dataset(root)
    assert (len(dataset.records["test"]), dataset.errors) == (0, ())
    assert len(dataset.records["train"]) == 3
    assert sorted(issue.code for issue in dataset.issues) == ["left-out", "split-without-masks"]
    assert any(f"{count} .png file" in issue.message for issue in dataset.issues)
