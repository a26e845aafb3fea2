"""`bts-tune predict`: masks and overlays from a run's best model, or from the one that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest

from bts_tune import api
from bts_tune.cli.main import main
from bts_tune.testing.runs import make_run, make_trial, write_run
from bts_tune.training.prediction.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("empty_folder")

BOUNDARY_LOSS = Path(__file__).parents[3] / "docs" / "examples" / "plugins" / "boundary_loss.py"
FIELDS: dict[str, Any] = {
    "image_size": 32,
    "epochs": 1,
    "batch_size": 8,
    "encoder": "tu-test_efficientnet",
    "encoder_weights": "none",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A run of two trials, each with a model that was trained for one epoch."""
    root = tmp_path_factory.mktemp("run")
    records = []
    for index, (name, decoder) in enumerate((("first", "unet"), ("second", "fpn"))):
        fields = {**FIELDS, "decoder": decoder}
        epochs = api.train(fields, phantom, folder=root / name, cache=root / "cache", device="cpu")
        rows = [epoch.to_dict() for epoch in epochs]
        records.append(make_trial(name, index=index, rows=[{**row, "trial": name} for row in rows], **fields))
    folder = write_run(root / "results" / "run", records, make_run())
    for name in ("first", "second"):
        shutil.copytree(root / name, folder.model_folder(name))
    return folder.path


def test_masks_and_overlays_are_written(capsys: pytest.CaptureFixture[str], run: Path, phantom: Path) -> None:
    images = sorted((phantom / "test").glob("*.png"))
    assert main(["predict", str(run), str(phantom / "test"), "--out", "out", "--device", "cpu"]) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert last == "Table: out/predictions.csv"
    best = api.open_run(run).leaderboard["trial"][0]
    assert first == f"Model: {run / 'models' / best}"
    assert len(lines) == len(images)
    for image, line in zip(images, lines, strict=True):
        mask = cv2.imread(f"out/{image.stem}_mask.png", cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        assert mask.shape == (48, 48)
        assert set(mask.flat) <= {0, 255}
        assert line == f"{image}: tumour {(mask > 0).mean():.2%} of the image -> out/{image.stem}_mask.png"
        assert Path(f"out/{image.stem}_overlay.png").is_file()


def test_the_model_of_a_trial_may_be_named(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str], run: Path, phantom: Path
) -> None:
    image = next((phantom / "test").glob("*.png"))
    masks = []
    for trial in ("first", "second"):
        assert main(["predict", str(run), str(image), "--out", trial, "--trial", trial, "--device", "cpu"]) == 0
        assert f"Model: {run / 'models' / trial}" in capsys.readouterr().out
        masks.append(Path(trial, f"{image.stem}_mask.png").read_bytes())
    assert masks[0] != masks[1]
    assert "it has first, second" in refused("predict", run, image, "--out", "o", "--trial", "third")


def test_a_run_is_found_by_its_name(capsys: pytest.CaptureFixture[str], run: Path, phantom: Path) -> None:
    assert main(["predict", "run", str(phantom / "test"), "--out", "out", "--results", str(run.parent)]) == 0
    assert list(Path("out").glob("*_mask.png"))


def test_a_mistake_gets_one_sentence(refused: Callable[..., str], run: Path, phantom: Path) -> None:
    image = next((phantom / "test").glob("*.png"))
    assert "no such run" in refused("predict", "nothing", image, "--out", "o")
    assert "nowhere.png: no such image" in refused("predict", run, "nowhere.png", "--out", "o")
    assert "--out" in refused("predict", run, image)
    assert "device" in refused("predict", run, image, "--out", "o", "--device", "tpu")
    Path("text.png").write_text("no image")
    assert "text.png" in refused("predict", run, "text.png", "--out", "o")
    assert not Path("o").exists()


def test_a_model_with_a_loss_of_a_plugin_needs_the_plugin(
    refused: Callable[..., str], forget_plugins: Callable[[], None], phantom: Path
) -> None:
    image = next((phantom / "test").glob("*.png"))
    api.load_plugin(BOUNDARY_LOSS)
    fields = {**FIELDS, "decoder": "unet", "loss": "boundary-bce"}
    rows = [{**row.to_dict(), "trial": "own"} for row in api.train(fields, phantom, folder="kept", device="cpu")]
    folder = write_run(Path("results/own"), [make_trial("own", rows=rows, **fields)], make_run())
    shutil.copytree("kept", folder.model_folder("own"))
    forget_plugins()
    assert "boundary_loss.py" in refused("predict", "own", image, "--out", "out")
    assert main(["predict", "own", str(image), "--out", "out", "--plugin", str(BOUNDARY_LOSS)]) == 0
    assert Path("out", f"{image.stem}_mask.png").is_file()


def test_a_volume_is_cut_along_the_plane_that_the_run_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Path, phantom: Path
) -> None:
    """From the command line and from Python: a mask of the volume's shape, sliced as the run's data was."""
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(0, 1, (9, 8, 7)), np.eye(4)), "scan.nii.gz")
    copy = tmp_path / "coronal"
    shutil.copytree(run, copy)
    content = json.loads((copy / "run.json").read_text())
    content["options"]["plane"] = "coronal"
    (copy / "run.json").write_text(json.dumps(content))
    seen: list[tuple[int, ...]] = []
    plain = Segmenter.probability_batch

    def watched(self: Segmenter, images: Any) -> Any:
        seen.extend(image.shape for image in images)
        return plain(self, images)

    monkeypatch.setattr(Segmenter, "probability_batch", watched)
    assert main(["predict", str(copy), "scan.nii.gz", "--out", "out", "--device", "cpu"]) == 0
    written: Any = nibabel.load("out/scan_mask.nii.gz")
    assert written.shape == (9, 8, 7)
    assert seen == [(7, 9)] * 8
    seen.clear()
    (found,) = api.open_run(run).predict("scan.nii.gz", "other", device="cpu")
    assert found.mask == Path("other/scan_mask.nii.gz")
    assert seen == [(8, 9)] * 7
