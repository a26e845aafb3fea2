"""Every kind of mask that people have: read as it was drawn, or refused in a sentence that names the cure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.checks.check import CheckReport, check_dataset, render
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.judge_masks import judge_masks
from bts_tune.data.prepared.masks import PlaneSource, mask_plane, mask_values
from bts_tune.data.prepared.prepare import prepare
from bts_tune.errors import DataError
from tests.data.builders import write_image
from tests.data.mask_kinds import KINDS, ODD_ONES, SIDE, MaskKind, slices

PART = PreprocessingPart(image_size=SIDE, equalization="none")
OF_MASKS = {code for kind in (*KINDS, *ODD_ONES) for code in kind.codes}


def checked(root: Path, labels: tuple[str, ...] | None = None) -> CheckReport:
    return check_dataset(open_dataset(root, tumor_labels=labels))


def found(report: CheckReport) -> tuple[str, ...]:
    return tuple(sorted({issue.code for issue in report.issues} & OF_MASKS))


def drawn(split: str) -> np.ndarray:
    count = {"train": 6, "valid": 3}[split]
    return np.stack([mask for _, mask in slices(count, seed=count)])


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.logical_and(first, second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_is_read_as_drawn_or_refused(tmp_path: Path, kind: MaskKind) -> None:
    root = kind.build(tmp_path / "data")
    report = checked(root, kind.labels)
    assert found(report) == kind.codes
    dataset = open_dataset(root, tumor_labels=kind.labels)
    if not kind.agrees:
        assert report.errors
        with pytest.raises(DataError) as refusal:
            prepare(dataset, PART, cache=tmp_path / "cache")
        assert str(refusal.value).count("\n") == 0
        return
    assert report.errors == ()
    data = prepare(dataset, PART, cache=tmp_path / "cache")
    for split in ("train", "valid"):
        masks = getattr(data, split).masks
        assert dice(masks, drawn(split)) >= kind.agrees
        # The check shows the areas that training sees; of noise around 0 and 1 it keeps the bins.
        tolerance = 1e-3 if "noise" in kind.name else 1e-9
        shares = masks.mean(axis=(1, 2))
        assert report.splits[split].tumor_share == pytest.approx(
            np.quantile(shares, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)), abs=tolerance
        )


@pytest.mark.parametrize("kind", ODD_ONES, ids=lambda kind: kind.name)
def test_one_among_many_is_read_by_the_same_rule(tmp_path: Path, kind: MaskKind) -> None:
    root = kind.build(tmp_path / "data")
    report = checked(root)
    assert found(report) == kind.codes
    assert report.errors == ()
    odd = [issue.file for issue in report.issues if issue.code == kind.codes[-1]]
    assert odd == ["train/images/s0.png", "valid/images/s0.png"]
    data = prepare(open_dataset(root), PART, cache=tmp_path / "cache")
    assert dice(data.train.masks[1:], drawn("train")[1:]) == 1.0


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("viridis", ["the mask train/masks/s0.png: is in colours, such as RGB (68, 1, 84)", "save it in grey"]),
        ("labels from 1", ["no mask holds a 0", "train/masks/s0.png", "hold 1 and 2", "--tumor-labels 2"]),
        ("inverted", ["more than half of the image in 9 of 9 masks", "--tumor-labels 0"]),
        ("not a number outside", ["train/masks/s0.tif: holds values that are infinite or not numbers (NaN)"]),
        ("palette with a white background", ["its palette shows index 0 as RGB (255, 255, 255)", "save it in grey"]),
        ("alpha alone", ["9 of 9 masks, such as train/masks/s0.png, hold their tumour in the alpha channel alone"]),
        ("the images", ["the mask train/masks/s0.png is the image itself"]),
        ("BraTS labels and 255 to ignore", ["255 stands beside the labels 1 and 4 in 9 of 9 masks", "'ignore'"]),
        ("0 and 255, and a label in a few", ["255 stands beside the label 1 in 2 of the 9 masks that hold it"]),
        ("labels up to 255 in a JPEG", ["9 of 9 masks, such as train/masks/s0.jpg, hold values between labels (0, 12"]),
        ("lossy but for one of 0 and 1", ["train/masks/s0.png holds no value above 1", "others are cut at 127.5"]),
        ("a label that is nowhere", ["--tumor-labels 7: no mask holds it; they hold 0 and 255."]),
        ("a fraction that is nowhere", ["--tumor-labels 0.33: no mask holds it; they hold 0 and 0.333333."]),
        ("floats of 16 bits", ["train/masks/s0.tif: holds 16-bit floating-point values"]),
        ("five channels", ["train/masks/s0.tif: has 5 channels"]),
    ],
)
def test_a_sentence_names_file_value_and_cure(tmp_path: Path, name: str, sentences: list[str]) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    text = render(checked(kind.build(tmp_path), kind.labels))
    for sentence in sentences:
        assert sentence in text


def test_what_the_cut_changed_is_said_once(tmp_path: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == "PNG that was a JPEG")
    report = checked(kind.build(tmp_path))
    (issue,) = (issue for issue in report.issues if issue.code == "lossy-masks")
    assert "9 of 9 masks hold values between" in issue.message
    areas = [float(part.split("%")[0]) for part in issue.message.replace("is ", "be ").split("be ")[1:] if "%" in part]
    assert areas[0] == pytest.approx(
        100 * np.median([*drawn("train").mean((1, 2)), *drawn("valid").mean((1, 2))]), abs=0.01
    )
    assert areas[1] > 1.2 * areas[0]
    assert report.masks.rule == MaskRule("half", cut=127.5)
    recorded = report.to_dict()["masks"]
    assert (recorded["rule"], recorded["cut"], recorded["masks"]) == ("half", 127.5, 9)
    assert "Values above 127.5, half of the masks' range, are tumour." in render(report)


def test_a_chosen_label_leaves_the_others_out(tmp_path: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == "two labels")
    kind.build(tmp_path)
    both, first = checked(tmp_path), checked(tmp_path, ("1",))
    assert first.splits["train"].tumor_share[3] == pytest.approx(both.splits["train"].tumor_share[3] / 2, abs=0.01)
    lines = render(first).splitlines()
    assert "1 is tumour, as chosen." in lines
    assert [line.split()[-1] for line in lines if line.split()[:1] in (["1"], ["2"]) and len(line.split()) == 4] == [
        "yes",
        "no",
    ]
    assert open_dataset(tmp_path, tumor_labels=["1"]).fingerprint() != open_dataset(tmp_path).fingerprint()


@pytest.mark.parametrize("labels", [(85, 170, 255), (63, 126, 252)])
def test_a_small_core_of_a_label_is_no_smooth_border(tmp_path: Path, labels: tuple[int, ...]) -> None:
    """Two by two pixels have no neighbours all alike, but in other masks the same value fills regions."""
    for number in range(12):
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[8 : 30 + number, 8:40] = labels[number % 3]
        mask[12:20, 12:20] = labels[(number + 1) % 3]
        if number == 5:
            mask[12:20, 12:20] = labels[2]
            mask[14:16, 14:16] = labels[0]
        write_image(tmp_path / "images" / f"{number}.png", np.random.default_rng(number).integers(0, 255, (64, 64)))
        write_image(tmp_path / "masks" / f"{number}.png", mask)
    report = checked(tmp_path)
    assert report.masks.rule == MaskRule()
    assert not {"lossy-masks", "odd-mask"} & {issue.code for issue in report.issues}


def test_the_rule_is_that_of_all_masks_whatever_their_order_and_split(tmp_path: Path) -> None:
    values = {}
    for number, (_, mask) in enumerate(slices(4, seed=1)):
        grey = (mask * 255).astype(np.uint8)
        path = write_image(tmp_path / f"{number}.png", grey)
        values[path.name] = mask_values(*mask_plane(path.read_bytes(), path.name), path.name)
    assert judge_masks(values).rule == judge_masks(dict(reversed(values.items()))).rule == MaskRule()
    assert judge_masks({}).rule == MaskRule()
    assert judge_masks({}).number == 0


@pytest.mark.parametrize("quality", [80, 75, 60, 40])
def test_blocks_that_webp_keeps_or_fills_with_1_are_no_labels(quality: int) -> None:
    values = {}
    for number in range(10):
        mask = np.zeros((64, 64), dtype=np.uint8)
        if number == 0:
            mask[16:40, 16:48] = 255
        data = cv2.imencode(".webp", mask, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        values[str(number)] = mask_values(*mask_plane(data, "a"), "a")
    judged = judge_masks(values)
    assert {issue.level for issue in judged.issues} <= {"warning"}
    assert [judged.rule.share(one) for one in values.values()] == [768 / 64**2, *[0] * 9]


def test_maps_of_low_probabilities_hold_no_tumour(tmp_path: Path) -> None:
    """Where most slices are free of tumour, the few others say what the scale is."""
    values = {}
    for number, (_, mask) in enumerate(slices(40, seed=2)):
        smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2) * (1 if number < 4 else 0.3)
        values[str(number)] = mask_values(smooth, PlaneSource(), f"masks/{number}.tif")
    judged = judge_masks(values)
    assert judged.rule == MaskRule("half", cut=0.5)
    assert [issue.code for issue in judged.issues] == ["lossy-masks"]
    assert [judged.rule.share(one) > 0 for one in values.values()] == [number < 4 for number in range(40)]


def test_many_masks_of_fractions_are_listed_in_few_values() -> None:
    rng = np.random.default_rng(0)
    values = {
        str(number): mask_values(rng.random((30, 30)).astype(np.float32) ** 8, PlaneSource(), "a")
        for number in range(50)
    }
    assert judge_masks(values).different < 2000


@pytest.mark.parametrize("word", ["tumour", "nan", ""])
def test_a_label_is_a_number(tmp_path: Path, word: str) -> None:
    KINDS[0].build(tmp_path)
    with pytest.raises(DataError, match=r"--tumor-labels .*: must be a value that masks hold"):
        open_dataset(tmp_path, tumor_labels=[word])
