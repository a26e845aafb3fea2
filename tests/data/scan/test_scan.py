from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_grey, read_mask
from bts_tune.data.prepared.judge_masks import judge_masks
from bts_tune.data.prepared.masks import mask_plane, mask_values
from bts_tune.data.scan.scan import Scan, scan_dataset
from bts_tune.data.scan.similarity import signature
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


def scan(root: Path) -> Scan:
    return scan_dataset(open_dataset(root))


def test_what_a_slice_shows(tmp_path: Path) -> None:
    found = scan(write_coco(tmp_path))
    assert found.names == ["train/0.png", "train/1.png", "train/2.png", "valid/0.png", "valid/1.png", "test/0.png"]
    one = found.slices["train/0.png"]
    assert (one.issues, one.size, one.kind) == ((), "60 x 40", "grey 8-bit")
    assert one.tumor_share == pytest.approx(20 * 15 / 2400)
    assert one.signature is not None
    assert np.array_equal(one.signature, signature(noise()))


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


class TestOrientation:
    @staticmethod
    def turned(pixels: np.ndarray, path: Path, orientation: int = 6) -> Path:
        """Store pixels such that a viewer shows them as they are given here."""
        tag = Image.Exif()
        tag[0x0112] = orientation
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rot90(pixels)).save(path, exif=tag)
        return path

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize(("height", "width"), [(64, 64), (80, 48)])
    def test_annotations_of_a_coco_export_lie_on_the_image_as_it_is_shown(
        self, tmp_path: Path, suffix: str, height: int, width: int
    ) -> None:
        root = write_coco(tmp_path, height=height, width=width)
        shown = np.full((height, width), 20, dtype=np.uint8)
        shown[5:20, 10:30] = 220  # where the annotation is
        content = read_json(root / "train")
        content["images"][0]["file_name"] = f"a{suffix}"
        write_json(root / "train", content)
        self.turned(shown, root / "train" / f"a{suffix}")
        dataset = open_dataset(root)
        found = scan(root).slices[f"train/a{suffix}"]
        assert [issue.code for issue in found.issues] == ["orientation"]
        assert "orientation tag (6)" in found.issues[0].message
        record = next(record for record in dataset if record.name == f"train/a{suffix}")
        assert np.array_equal(read_grey(record.image) > 100, read_mask(record) == 1)

    def test_an_annotation_of_the_stored_pixels_is_refused_in_a_sentence_that_says_so(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        self.turned(noise(60, 40), root / "train" / "0.png")
        (error, _) = scan(root).slices["train/0.png"].issues
        assert (error.level, error.code) == ("error", "wrong-size")
        assert error.message == (
            "the image has 40 x 60 pixels as a viewer shows it (rotated by 90° clockwise by its orientation tag), its "
            "entry declares 60 x 40, as it is stored; annotate it as it is shown, or save it without the tag."
        )

    def test_so_is_a_mask_of_the_stored_pixels(self, tmp_path: Path) -> None:
        root = write_pairs(tmp_path, 6)
        self.turned(noise(60, 40), root / "images" / "s001.png")
        (_, error) = scan(root).slices["images/s001.png"].issues
        assert (error.level, error.code) == ("error", "wrong-mask-size")
        assert "the mask has 60 x 40 pixels, its image 40 x 60 as a viewer shows it" in error.message
        assert error.message.endswith("annotate it as it is shown, or save it without the tag.")

    def test_a_mask_follows_its_own_tag(self, tmp_path: Path) -> None:
        root = write_pairs(tmp_path, 6)
        mask = np.zeros((40, 60), dtype=np.uint8)
        mask[:4, :9] = 255
        self.turned(mask, root / "masks" / "s001.png")
        dataset = open_dataset(root)
        assert scan(root).slices["images/s001.png"].issues == ()
        record = next(record for record in dataset if record.name == "images/s001.png")
        assert np.array_equal(read_mask(record), mask > 0)


def test_burned_in_marks_are_told_with_their_values(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 6)
    values = noise().astype(np.uint16)
    values[2:5, 3:15] = 60_000
    write_image(root / "images" / "s001.png", values)
    (issue,) = scan(root).slices["images/s001.png"].issues
    assert (issue.level, issue.code) == ("warning", "burned-in-marks")
    assert issue.message.startswith("1.50% of its pixels reach from 0 to 60000, all others from 0 to 255, as burned-in")


def test_the_real_masks_that_were_jpegs_are_cut_at_half(brisc: Path) -> None:
    """The tumours of BRISC 2025 are those of its masks cut at 127; with all but 0 they would be 14 % larger."""
    values, cut, nonzero = {}, [], []
    for path in sorted((brisc / "test" / "masks").glob("*.png"))[::8]:
        plane, source = mask_plane(path.read_bytes(), path.name)
        values[path.name] = mask_values(plane, source, path.name)
        cut.append((plane > 127).mean())
        nonzero.append((plane != 0).mean())
    judged = judge_masks(values)
    assert [issue.code for issue in judged.issues] == ["lossy-masks"]
    assert [judged.rule.share(one) for one in values.values()] == cut
    assert np.median(np.array(nonzero) / np.array(cut)) == pytest.approx(1.14, abs=0.02)


@pytest.mark.parametrize(("kind", "is_told"), [("outline", True), ("filled", False), ("thick ring", False)])
def test_masks_that_are_outlines_are_told(tmp_path: Path, kind: str, is_told: bool) -> None:
    root = write_pairs(tmp_path, 3)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:30, 10:40] = 255
    if kind != "filled":
        width = 1 if kind == "outline" else 5
        mask[5 + width : 30 - width, 10 + width : 40 - width] = 0
    write_image(root / "masks" / "s000.png", mask)
    found = [issue for issue in scan(root).slices["images/s000.png"].issues if issue.code == "outline-mask"]
    assert bool(found) == is_told
    if is_told:
        assert "a line around 750 pixels, of which it holds 106" in found[0].message
