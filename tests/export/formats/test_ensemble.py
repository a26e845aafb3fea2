"""Exports of several networks as one, and of one network under test-time augmentation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bts_tune import api
from bts_tune.errors import ConfigError, RunError
from bts_tune.testing.exports import example_run, train_run, validation_images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """A run that kept both trainings of its one configuration."""
    fields = {"equalization": "histogram", "image_size": 32}
    trials = {f"unet-seed{seed}": {**fields, "seed": seed} for seed in (0, 1)}
    return api.Run(train_run(tmp_path_factory.mktemp("runs") / "run", trials))


# An ensemble without views is exported by torch below.
@pytest.mark.parametrize(("ensemble", "tta"), [(False, True), (True, True)])
def test_one_onnx_file_gives_the_mean_probability(tmp_path: Path, run: api.Run, ensemble: bool, tta: bool) -> None:
    run.export("onnx", tmp_path / "m.onnx", ensemble=ensemble, tta=tta)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    images = validation_images()
    found = session.run(None, {"image": images})[0]
    model = run.best_model(device="cpu", ensemble=ensemble, tta=tta)
    np.testing.assert_allclose(found[:, 0], [model.probability(image[0]) for image in images], atol=1e-4)
    plain = run.best_model(device="cpu")
    assert abs(found[0, 0] - plain.probability(images[0, 0])).max() > 1e-3
    beside = json.loads((tmp_path / "m.onnx.json").read_text())
    assert len(beside["trials"]) == len(beside["input"]["standardised_inside_with"]) == 1 + ensemble
    assert (", 2 views" in beside["averaged_inside"]) == tta


def test_torch_export_and_the_usual_name(run: api.Run) -> None:
    exported = run.export("torch-export", ensemble=True)
    assert Path(exported.output).name == f"{run.leaderboard['trial'][0]}-ensemble.pt2"
    images = validation_images()
    with torch.no_grad():
        found = torch.export.load(exported.output).module()(torch.from_numpy(images)).numpy()
    model = run.best_model(device="cpu", ensemble=True)
    np.testing.assert_allclose(found[:, 0], [model.probability(image[0]) for image in images], atol=1e-4)


def test_what_cannot_be_is_refused(tmp_path: Path, run: api.Run) -> None:
    with pytest.raises(ConfigError, match="--ensemble and --trial: give one of the two"):
        run.export("onnx", tmp_path / "m.onnx", trial="unet-seed0", ensemble=True)
    with pytest.raises(RunError, match="an ensemble needs at least two trained models"):
        api.Run(example_run()).export("onnx", tmp_path / "m.onnx", ensemble=True)
    assert not list(tmp_path.iterdir())
