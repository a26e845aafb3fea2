"""Datasets as people really have them, which are not part of the repository: each is read right, or refused with why.

The folder `shared/cases` beside the checkout holds a generator for each; what is right stands in its README.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bts_tune.cli.main import main
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_grey, read_mask, read_slice
from bts_tune.data.prepared.prepare import with_mask_rule
from bts_tune.errors import DataError
from bts_tune.training.prediction.predict import predict
from tests.training.builders import data, tiny, trained

EXACT, LOSSY, OUTLINE = 0.006, 0.1, 0.9
"""By how many per cent of the image the tumour's area may be off; an outline runs through the centres of its pixels."""


@dataclass(frozen=True)
class Case:
    """What is right for one case.

    Attributes:
        code: of `bts-tune data check`.
        off: by how much the tumour's area may be off the truth, in per cent of the image; None where it is refused.
        said: patterns that its messages must have, its errors alone where it is refused.
        slices: how many there are, where the generator does not say so.
        groups: how many patients they are of, where folders tell.
    """

    code: int = 0
    off: float | None = EXACT
    said: tuple[str, ...] = ()
    slices: int | None = None
    groups: int | None = None


def refused(*said: str, code: int = 1) -> Case:
    return Case(code, None, said)


CASES = {
    "01_png_from_jpeg_mask": Case(off=LOSSY, said=("half of the masks' range",)),
    "03_jpg_mask": Case(off=LOSSY, said=("half of the masks' range",)),
    "04_inverted_mask": refused("--tumor-labels 0"),
    "05_viridis_mask": refused("colours"),
    "06_palette_mask": refused("palette"),
    "07_palette_voc": Case(),
    "08_alpha_only_mask": Case(said=("alpha",)),
    "09_rgba_opaque_and_la": Case(),
    "10_tiff_bilevel": Case(),
    "11_float_nan_mask": refused("NaN"),
    "13_antialiased_mask": Case(off=LOSSY, said=("half of the masks' range",)),
    "14_multiclass_mask": Case(said=("255",)),
    "15_labels_from_one": refused("--tumor-labels"),
    "23_exif_square_coco": Case(off=OUTLINE, said=("orientation",)),
    "24_exif_nonsquare_coco": Case(off=OUTLINE, said=("orientation",)),
    "26_tiff16_whiteiszero": Case(),
    "27_nested_patients": Case(slices=16, groups=4),
    "28_nested_and_flat": Case(slices=20, said=("no patient's folder",)),
    "30_gif_masks": Case(),
    "31_mask_suffix": Case(),
    "32_kaggle_3m": Case(slices=12, groups=3),
    "33_labels_folder": Case(),
    "34_capital_folders": Case(),
    "40_windows_backslash": Case(off=OUTLINE, said=("backslashes",)),
    "41_images_subfolder": Case(off=OUTLINE),
    "43_cvat_layout": Case(off=OUTLINE),
    "48_nfc_nfd_coco": Case(off=OUTLINE, said=("accents",)),
    "50_rle_kinds": Case(),
    "52_polygon_pairs": Case(off=OUTLINE),
    "55_polygon_percent": refused("in percent of the image"),
    "60_hub_symlinks": refused("cp -rL", code=2),
    "65_dicom_beside": Case(said=(r"\.dcm",)),
    "80_metrics": Case(off=None),
    "81_small": Case(),
    "82_one_train_image": refused("at least 2"),
    "94_case_and_suffix": Case(off=OUTLINE, said=("letter case|suffix",)),
    "97_polygon_with_hole": Case(off=OUTLINE),
    "98b_image_as_mask_black_background": refused("image itself|its image"),
    "101_coco_file_name_prefix": Case(off=OUTLINE, said=("folder",)),
}

ELSEWHERE = {
    "20_tiff_image_variants",
    "21_png_image_variants",
    "22_jpeg_image_variants",
    "68_group_csv",
    "90_predict_inputs",
    "100_stale_check",
}
"""Cases that have a test of their own below."""


def folder_of_cases() -> Path:
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "cases").is_dir():
            return folder / "shared" / "cases"
    pytest.skip("shared/cases is not beside the checkout")


def made(name: str, to: Path) -> tuple[Path, str]:
    """Run a generator; return its dataset and what it printed."""
    cases = folder_of_cases()
    shutil.copy(cases / "common.py", to / "common.py")
    shutil.copytree(cases / name, to / name)
    done = subprocess.run([sys.executable, str(to / name / "make.py")], capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"the generator needs a package: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return to / name / "data", done.stdout


def checked(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any] | None, str]:
    """Return the exit code of the check, its outcome where it has one, and what it said."""
    code = main(["data", "check", str(root), "--json", *options])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    outcome = json.loads(captured.out) if captured.out.strip() else None
    said = [captured.err] if outcome is None else [issue["message"] for issue in outcome["issues"]]
    if outcome is not None:
        said += [str((outcome["masks"] or {}).get("says", "")), *(issue["file"] for issue in outcome["issues"])]
    return code, outcome, "\n".join(said)


def test_every_case_has_a_test() -> None:
    names = {folder.name for folder in folder_of_cases().iterdir() if (folder / "make.py").is_file()}
    assert names <= CASES.keys() | ELSEWHERE


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_read_right_or_refused_with_why(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    root, printed = made(name, tmp_path)
    code, outcome, said = checked(root, capsys)
    assert code == case.code, said
    for pattern in case.said:
        assert re.search(pattern, said), said
    if case.code or case.off is None:
        return
    assert outcome is not None
    dataset = with_mask_rule(open_dataset(root))
    if case.slices is not None:
        assert len(dataset) == case.slices
    if case.groups is not None:
        assert len({record.group for record in dataset}) == case.groups
    truth = re.findall(r"TRUE (\w+): least (\S+) median (\S+) most (\S+)", printed)
    for split, *areas in truth:
        found = outcome["splits"][split]["tumor_share"]
        for share, area in zip((found["0"], found["0.5"], found["1"]), map(float, areas), strict=True):
            assert abs(100 * share - area) <= case.off, (split, found, areas)
    for record in dataset:
        image, mask = read_slice(record), read_mask(record, dataset.mask_rule)
        assert image[mask == 1].mean() - image[mask == 0].mean() > 40, record.name


@pytest.mark.parametrize("name", sorted(name for name in ELSEWHERE if name[:2] in ("20", "21", "22")))
def test_every_kind_of_image_shows_the_slice_or_is_refused(name: str, tmp_path: Path) -> None:
    root, _ = made(name, tmp_path)
    truth = np.load(root / "truth.npy").astype(int)
    refusals = {
        "f16.tif": "16-bit floating",
        "two_pictures.jpg": "2 pages",
        "two_channels.tif": "2 channels",
        "five_channels.tif": "5 channels",
    }
    turned = ("pil_orient6.tif", "exif6.png", "exif6.jpg")
    transparent = ("trns_grey.png", "palette_trns.png", "rgba_half.png")
    for file in sorted(root.iterdir()):
        if file.name in refusals:
            with pytest.raises(DataError, match=refusals[file.name]):
                read_grey(file)
        elif file.name != "truth.npy":
            expected = np.rot90(truth, -1) if file.name in turned else truth
            grey = read_grey(file).astype(int)
            assert grey.shape == expected.shape, file.name
            away = np.abs(grey - expected)
            if file.name in transparent:  # over black
                assert (grey <= expected + 1).all(), file.name
            elif (bits := re.fullmatch(r"grey(\d)\.png", file.name)) is not None:
                assert away.max() <= 256 >> int(bits[1]), file.name
            else:
                assert away.max() <= (4 if file.suffix.lower() in (".jpg", ".jpeg") or "jpeg" in file.name else 1), (
                    file.name
                )


GROUP_TABLES = (
    *("semicolon.csv", "capitals.csv", "utf16.csv", "latin1.csv", "spaces.csv", "backslash.csv", "stems.csv"),
    "good.CSV",
)


def test_tables_of_groups_as_spreadsheets_write_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = made("68_group_csv", tmp_path)
    for name in GROUP_TABLES:
        code, outcome, said = checked(root, capsys, "--group-by", str(root / name))
        assert code == 0, (name, said)
        assert outcome is not None
        assert outcome["split"]["groups"]["count"] == 6, name
    code, _, said = checked(root, capsys, "--group-by", str(root / "basenames_ambiguous.csv"))
    assert code == 2
    assert "two groups" in said
    assert said.count("\n") == 1


def test_masks_that_were_replaced_under_their_old_time_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = made("100_stale_check", tmp_path)
    before = checked(root, capsys)[1]
    for file in root.rglob("masks/*.tif"):
        times = file.stat()
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        pixels[:20] = 255
        assert cv2.imwrite(str(file), pixels)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = checked(root, capsys)[1]
    assert before is not None
    assert after is not None
    assert after["splits"]["train"]["tumor_share"]["0"] > before["splits"]["train"]["tumor_share"]["1"]


def test_predicted_masks_lie_as_a_viewer_shows_the_image(tmp_path: Path) -> None:
    root, _ = made("90_predict_inputs", tmp_path)
    model = tmp_path / "model"
    trained(tiny(epochs=4, batch_size=2, batch_norm_momentum=0.2, equalization="none"), data(train=12), model)

    def mask_of(name: str) -> np.ndarray:
        (found,) = predict(model, [root / name], tmp_path / "out" / name, device="cpu")
        mask = cv2.imread(str(found.mask), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == read_grey(root / name).shape
        return mask

    def alike(one: np.ndarray, other: np.ndarray) -> bool:
        return one.shape == other.shape and bool((one != other).mean() < 0.02)

    plain = mask_of("plain.png")
    assert alike(mask_of("exif6.jpg"), mask_of("upright.jpg"))
    assert mask_of("tiff6.tif").shape == plain.shape[::-1]
    assert np.array_equal(mask_of("white16.tif"), mask_of("black16.tif"))
    assert np.array_equal(mask_of("UPPER.TIF"), plain)
    assert mask_of("tiny.png").shape == (1, 1)
    assert mask_of("wide.png").shape == (64, 192)
    with pytest.raises(DataError, match=r"c\.dcm: is no DICOM file that can be read"):
        list(predict(model, [root / "mixed"], tmp_path / "out", device="cpu"))
    (root / "mixed" / "c.dcm").unlink()
    assert len(list(predict(model, [root / "mixed"], tmp_path / "mixed", device="cpu"))) == 6
    assert len(list(predict(model, [root / "only_bmp"], tmp_path / "bmp", device="cpu"))) == 1
    with pytest.raises(DataError, match="would both be written as a; name them apart"):
        list(predict(model, [root / "same"], tmp_path / "same", device="cpu"))
