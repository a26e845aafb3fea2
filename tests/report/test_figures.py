"""Figures: drawn for every kind of record, decodable, of sane size, and holding what they should hold."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from bts_tune.report.figures.learning_curves import learning_curves
from bts_tune.report.figures.predictions import overlay, read_samples
from matplotlib.image import imread

from bts_tune.errors import RunError
from bts_tune.results.run_folder import TrialRecord
from bts_tune.testing.runs import make_baselines, make_curve, make_row, make_samples, make_search, make_trial


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(imread(io.BytesIO(png)))


def save(path: Path, **changes: object) -> Path:
    np.savez_compressed(path, **{**make_samples(), **changes})
    return path


@pytest.mark.parametrize(
    "trials",
    [
        make_baselines()[:1],
        make_baselines(),
        make_search(),
        make_search(epochs=1),
        make_search(epochs=3, searched=200, seeds=3, changed=["epochs"]),
        [make_trial("only-stopped", status="stopped", rows=make_curve("a", 2, 0.4), epochs=8)],
    ],
    ids=["one", "three", "twelve", "one epoch", "hundreds", "none ranked"],
)
def test_curves_decode_at_a_readable_size(trials: list[TrialRecord]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = pixels(learning_curves(trials, ["DEMO"]))
    assert image.shape[:2] == (705, 1710)
    assert image[..., :3].min() < 0.3  # something is drawn
    assert image[..., :3].mean() > 0.8  # on white


def test_no_epochs_no_curves() -> None:
    assert learning_curves([]) is None
    assert learning_curves([make_trial("a", status="failed")]) is None


def test_curves_are_the_same_bytes_for_the_same_record() -> None:
    assert learning_curves(make_search()) == learning_curves(make_search()[::-1])


def test_a_tag_shows() -> None:
    plain, tagged = learning_curves(make_baselines()), learning_curves(make_baselines(), ["DEMO"])
    red = [(pixels(png)[:60, :900, 0] - pixels(png)[:60, :900, 1] > 0.5).sum() for png in (plain, tagged)]
    assert red[0] == 0
    assert red[1] > 100


def test_names_that_mean_something_to_matplotlib_are_plain_text() -> None:
    trials = [
        make_trial(f"t{index}", name=name, index=index, rows=make_curve("t", 3, 0.3))
        for index, name in enumerate(["_hidden", "$x^2", "a\nb", "\\alpha$\\frac$", "脑 🧠"])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert learning_curves(trials)


def test_a_row_without_training_loss_has_no_gap() -> None:
    row = make_row("a", 1, 0.4)
    del row["train_dice_loss"]
    assert learning_curves([make_trial("a", rows=[row, make_row("a", 2, 0.3)])])


@pytest.mark.parametrize("slices", [1, 6, 20])
def test_overlay_decodes_with_a_row_a_slice_up_to_ten(tmp_path: Path, slices: int) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **make_samples(slices=slices))
    image = pixels(overlay(read_samples(path), "Predictions of a", ["DEMO"]))
    rows = min(slices, 10)
    assert image.shape[1] > 1200
    assert 262 * rows < image.shape[0] < 262 * rows + 350


def test_overlay_tints_what_is_found_missed_and_a_false_alarm(tmp_path: Path) -> None:
    size = 64
    truth, probability = np.zeros((1, size, size), np.uint8), np.zeros((1, size, size), np.float16)
    truth[0, 5:45, 5:25] = 1
    probability[0, 25:60, 5:25] = 1
    black = {"images": np.zeros((1, size, size), np.uint8), "names": np.array(["x"]), "iou": np.array([0.0])}
    black["kind"] = np.array(["missed"])
    samples = read_samples(save(tmp_path / "a.npz", truths=truth, probabilities=probability, **black))
    image = pixels(overlay(samples, "x"))[:360, 1040:1310, :3]
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
    assert overlay(samples, "x")


def test_overlay_of_empty_and_full_masks_draws_without_a_warning(tmp_path: Path) -> None:
    truths = np.zeros((6, 96, 96), np.uint8)
    truths[1] = 1
    samples = read_samples(
        save(tmp_path / "a.npz", truths=truths, probabilities=truths.astype(np.float16), iou=np.full(6, np.nan))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert overlay(samples, "x")


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
