from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bts_tune.cli.main import main
from bts_tune.data.checks.preview import IN_RUN, PER_PART, Part, choose_slices, head, sheet_of_run, write_preview
from bts_tune.data.open import open_dataset
from bts_tune.data.scan.scan import scan_dataset
from tests.data.builders import write_image
from tests.data.mask_kinds import ODD_ONES

SIDE = 96
RED = (60, 60, 255)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found: np.ndarray = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return found


def save(root: Path, name: str, image: np.ndarray, mask: np.ndarray, split: str = "train") -> None:
    write_image(root / split / "images" / f"{name}.png", image)
    write_image(root / split / "masks" / f"{name}.png", mask.astype(np.uint8) * 255)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty heads with tumours of growing size, and one of each that is suspicious."""
    rng = np.random.default_rng(0)
    skull = disc(48, 48, 36)
    image = np.where(skull, rng.integers(90, 160, skull.shape), 0).astype(np.uint8)
    for number in range(20):
        tumour = disc(48, 48, 6 + number / 2)
        save(tmp_path, f"head{number:02}", np.where(tumour, 230, image).astype(np.uint8), tumour)
    save(tmp_path, "outside", image, disc(10, 10, 5))
    save(tmp_path, "border", image, disc(0, 48, 15))
    save(tmp_path, "none", image, skull & False)
    save(tmp_path, "inverted", image, ~disc(48, 48, 10))
    for number in range(3):
        save(tmp_path, f"v{number}", np.rot90(image, number).copy(), disc(40, 40, 9), "valid")
    return tmp_path


def parts_of(root: Path) -> dict[str, Part]:
    dataset = open_dataset(root)
    return {part.title: part for part in choose_slices(dataset, scan_dataset(dataset))}


def names(part: Part) -> list[str]:
    return [Path(record.name).stem for record, _ in part.slices]


def test_suspicious_slices_come_first_and_each_stands_once(root: Path) -> None:
    parts = parts_of(root)
    assert list(parts) == [
        "The check found something odd",
        "The tumour lies outside of the head",
        "The largest tumours",
        "The smallest tumours",
        "No tumour",
        "Others, spread over the dataset",
    ]
    first, outside, largest, smallest, none, others = parts.values()
    assert names(first) == ["inverted"]
    assert first.slices[0][1] == "96.56%"
    assert set(names(outside)) == {"outside", "border"}
    assert names(none) == ["none"]
    assert names(largest) == ["head19"]
    assert names(smallest)[0] == "head00"
    assert 6 <= len(others.slices) <= PER_PART
    shown = [name for part in parts.values() for name in names(part)]
    assert len(shown) == len(set(shown))


def test_a_border_alone_is_a_reason(root: Path) -> None:
    save(root, "edge", np.full((SIDE, SIDE), 120, dtype=np.uint8), disc(48, 0, 9))
    assert names(parts_of(root)["The tumour touches the border of the image"]) == ["edge"]


def test_slices_that_cannot_be_read_are_shown_too(root: Path) -> None:
    (root / "train" / "masks" / "head03.png").write_bytes(b"no mask")
    write_image(root / "train" / "masks" / "head04.png", np.zeros((5, 5), np.uint8))
    parts = parts_of(root)
    assert "head04" in names(parts["The check found something odd"])
    write_preview(root / "sheet.png", open_dataset(root), scan_dataset(open_dataset(root)))
    assert (root / "sheet.png").stat().st_size > 1000


def test_the_picture_has_the_outlines(root: Path) -> None:
    dataset = open_dataset(root)
    write_preview(root / "sheet.png", dataset, scan_dataset(dataset))
    sheet = cv2.imread(str(root / "sheet.png"))
    assert sheet is not None
    outline = (sheet == RED).all(axis=2)
    assert outline.sum() > 24 * 30
    assert sheet.shape[1] == 6 * 198 + 6


def test_a_tiny_tumour_is_seen(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for number in range(2):
            mask = np.zeros((900, 900), dtype=np.uint8)
            mask[400, 400 + number] = 1
            save(tmp_path, f"a{number}", np.full((900, 900), 90, dtype=np.uint8), mask, split)
    dataset = open_dataset(tmp_path)
    write_preview(tmp_path / "sheet.png", dataset, scan_dataset(dataset))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert (sheet == RED).all(axis=2).sum() > 4 * 40  # circles


def test_the_page_says_the_rule_and_escapes_names(tmp_path: Path) -> None:
    (kind,) = (kind for kind in ODD_ONES if kind.name == "one is empty but for noise")
    root = kind.build(tmp_path / "<b>data")
    for folder, suffix in (("images", "png"), ("masks", "jpg")):
        path = root / "train" / folder / f"s1.{suffix}"
        path.rename(path.with_stem("<script>"))
    dataset = open_dataset(root)
    write_preview(tmp_path / "sheet.html", dataset, scan_dataset(dataset))
    page = (tmp_path / "sheet.html").read_text()
    assert "Values above 127.5, half of the masks&#x27; range, are tumour." in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/png;base64,") == 9


def test_the_head_is_the_hull_of_what_is_bright() -> None:
    skull = disc(48, 48, 30)
    image = np.where(skull & ~disc(48, 48, 20), 200, 0).astype(np.uint8)  # a ring, as bone is
    image[:3, :8] = 255  # writing
    found = head(image) == 1
    assert (found != disc(48, 48, 31)).mean() < 0.03
    assert head(np.full((20, 30), 90, dtype=np.uint8)).all()
    assert head(np.zeros((20, 30), dtype=np.uint8)).all()


class TestCommand:
    def test_preview_and_json(self, capsys: pytest.CaptureFixture[str], root: Path) -> None:
        sheet = root.parent / "sheet.png"
        assert main(["data", "check", str(root), "--preview", str(sheet), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert sheet.is_file()
        assert found["masks"]["says"] == "All values but 0 are tumour."
        assert {value["value"] for value in found["masks"]["values"]} == {0, 255}
        codes = {issue["code"]: issue["file"] for issue in found["issues"]}
        assert codes["large-mask"] == "train/images/inverted.png"
        assert found["split"]["method"] == "provided"
        assert found["root"] == str(root)
        assert main(["data", "check", str(root), "--preview", str(sheet)]) == 0
        assert f"Preview: {sheet}" in capsys.readouterr().out

    def test_errors_are_in_the_json_too(self, capsys: pytest.CaptureFixture[str], root: Path) -> None:
        (root / "train" / "masks" / "head03.png").write_bytes(b"no mask")
        assert main(["data", "check", str(root), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["errors"] == {"unreadable-mask": 1}

    @pytest.mark.parametrize("name", ["sheet.pdf", "nowhere/no.txt"])
    def test_another_format_is_refused_before_anything_is_opened(
        self, capsys: pytest.CaptureFixture[str], root: Path, name: str
    ) -> None:
        assert main(["data", "check", str(root), "--preview", name]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.endswith(f"--preview {name}: must end in .png or .html.\n")

    def test_a_file_that_cannot_be_written(self, capsys: pytest.CaptureFixture[str], root: Path) -> None:
        (root / "taken.png").mkdir()
        assert main(["data", "check", str(root), "--preview", str(root / "taken.png")]) == 2
        assert "taken.png: cannot be written" in capsys.readouterr().err


def test_a_dataset_of_annotations(brain_tumor_coco: Path) -> None:
    dataset = open_dataset(brain_tumor_coco)
    few = replace(dataset, records={split: members[:8] for split, members in dataset.records.items()})
    assert [part.title for part in choose_slices(few, scan_dataset(few))][-1] == "Others, spread over the dataset"


def test_the_sheet_of_a_run_is_small_and_shows_what_is_suspicious(root: Path) -> None:
    dataset = open_dataset(root)
    scan = scan_dataset(dataset)
    png = sheet_of_run(dataset, scan)
    assert png is not None
    assert len(png) < 500_000
    sheet = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape[1] == 6 * 160
    assert sheet.shape[0] == (IN_RUN // 6) * (160 + 3 * 16)
    assert (sheet[..., 2].astype(int) - sheet[..., 0] > 100).sum() > 200
    assert sheet_of_run(replace(dataset, records=dict.fromkeys(dataset.records, ())), scan) is None
