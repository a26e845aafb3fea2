"""The section on predictions: what it shows, and samples that cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from bts_tune.errors import RunError
from bts_tune.report.blocks import Picture
from bts_tune.report.sections.predictions import Predictions, draw_predictions, read_samples, short_name
from bts_tune.testing.runs import make_samples, make_search, write_run, write_samples
from bts_tune.testing.sections import SectionContract, context_of
from tests.report.pages import pixels


class TestPredictions(SectionContract):
    name = "predictions"


def save(path: Path, **changes: object) -> Path:
    np.savez_compressed(path, **{**make_samples(), **changes})
    return path


def test_figures_are_shown_or_their_absence_is_told(tmp_path: Path) -> None:
    trials = make_search()
    next(record for record in trials if record.trial == "unet-b0-frozen-s0").test = {}  # not evaluated yet
    folder = write_run(tmp_path / "run", trials)
    write_samples(folder, "t0001")
    blocks = list(Predictions().blocks(context_of(trials, folder=folder)))
    (picture,) = [block for block in blocks if isinstance(block, Picture)]
    assert (picture.path, picture.photo) == ("figures/predictions-t0001.png", True)
    assert picture.description == "Validation slices, Best trial: t0001"
    assert "The figure is left out: samples/unet-b0-s0.npz is missing." in str(blocks)
    assert "No slices yet: this trial's model has not been evaluated." in str(blocks)


@pytest.mark.parametrize("slices", [1, 6, 20])
def test_overlay_decodes_with_a_row_a_slice_up_to_ten(tmp_path: Path, slices: int) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **make_samples(slices=slices))
    image = pixels(draw_predictions(read_samples(path), "Predictions of a", ["DEMO"]))
    rows = min(slices, 10)
    assert image.shape[1] > 1200
    assert 262 * rows < image.shape[0] < 262 * rows + 350


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("valid/images/1.jpg", "1"),
        ("images/brisc2025_train_03668_pi_ax_t1.jpg", "brisc2025_train_\n03668_pi_ax_t1"),
        ("1200_jpg.rf.0a1b2c3d4e5f", "1200"),
        ("x" * 60, "xxxxxxxxxxxxxxxxxx\nxx…xxxxxxxxx"),
    ],
)
def test_a_slice_is_called_by_its_files_own_name(name: str, shown: str) -> None:
    assert short_name(name) == shown


def test_overlay_tints_what_is_found_missed_and_a_false_alarm(tmp_path: Path) -> None:
    size = 64
    truth, probability = np.zeros((1, size, size), np.uint8), np.zeros((1, size, size), np.float16)
    truth[0, 5:45, 5:25] = 1
    probability[0, 25:60, 5:25] = 1
    black = {"images": np.zeros((1, size, size), np.uint8), "names": np.array(["x"]), "iou": np.array([0.0])}
    black["kind"] = np.array(["missed"])
    samples = read_samples(save(tmp_path / "a.npz", truths=truth, probabilities=probability, **black))
    image = pixels(draw_predictions(samples, "x"))[:360, 1040:1310, :3]
    places = []
    for color in ((0xCC, 0x79, 0xA7), (0x00, 0x9E, 0x73), (0xE6, 0x9F, 0x00)):  # missed, found, false alarm
        tinted = np.abs(image - 0.65 * np.array(color) / 255).max(-1) < 0.03
        assert tinted.sum() > 1000
        places.append(np.argwhere(tinted).mean(0)[0])
    assert places[0] + 50 < places[1]
    assert places[1] + 50 < places[2]


def test_samples_of_an_earlier_version_have_no_kinds(tmp_path: Path) -> None:
    old = {name: array for name, array in make_samples().items() if name != "kind"}
    np.savez_compressed(tmp_path / "a.npz", **old)
    samples = read_samples(tmp_path / "a.npz")
    assert samples.kinds == ("",) * 6
    assert draw_predictions(samples, "x")


def test_overlay_of_empty_and_full_masks_draws_without_a_warning(tmp_path: Path) -> None:
    truths = np.zeros((6, 96, 96), np.uint8)
    truths[1] = 1
    samples = read_samples(
        save(tmp_path / "a.npz", truths=truths, probabilities=truths.astype(np.float16), iou=np.full(6, np.nan))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_predictions(samples, "x")


def test_samples_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"samples/a\.npz is missing"):
        read_samples(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"not a zip archive")
    with pytest.raises(RunError, match=r"samples/b\.npz cannot be read"):
        read_samples(tmp_path / "b.npz")
    save(tmp_path / "c.npz", iou=np.zeros(5))
    with pytest.raises(RunError, match=r"samples/c\.npz cannot be used"):
        read_samples(tmp_path / "c.npz")
    whole = save(tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"samples/d\.npz"):
        read_samples(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", images=make_samples()["images"])
    with pytest.raises(RunError, match=r"samples/e\.npz cannot be read"):
        read_samples(tmp_path / "e.npz")
    save(tmp_path / "f.npz", names=np.array([object()] * 6, dtype=object))
    with pytest.raises(RunError, match=r"samples/f\.npz cannot be read"):
        read_samples(tmp_path / "f.npz")
