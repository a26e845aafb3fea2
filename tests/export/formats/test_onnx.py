from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from bts_tune import api
from bts_tune.errors import ConfigError
from bts_tune.export.formats import base
from bts_tune.export.formats.onnx import DESCRIPTION
from bts_tune.testing.exports import ExportContract, example_run, exported_once, train_run, validation_images


def session(path: Path | str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


class TestOnnx(ExportContract):
    name = "onnx"

    def output(self, folder: Path) -> str:
        return str(folder / "model.onnx")

    def probabilities(self, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session(output).run(["probability"], {"image": images})[0]
        return found


def test_it_is_one_valid_file_with_free_sizes_that_says_what_it_is() -> None:
    folder = exported_once(TestOnnx).folder
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "model.onnx.json"}
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    (entry,) = session(folder / "model.onnx").get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("image", "tensor(uint8)", ["n", 1, "height", "width"])
    beside = json.loads((folder / "model.onnx.json").read_text())
    assert beside["checked"]["largest_difference"] < 1e-4
    del beside["checked"]
    assert json.loads({one.key: one.value for one in model.metadata_props}[DESCRIPTION]) == beside
    assert beside["input"]["equalization"] == "inside the model"


def test_the_documented_architecture_with_dropout(tmp_path: Path) -> None:
    fields = {"decoder": "unet", "encoder": "efficientnet-b0", "image_size": 32}
    run = api.Run(train_run(tmp_path / "run", {"unet": fields}))
    run.export("onnx", tmp_path / "m.onnx")
    model = run.best_model(device="cpu")
    images = validation_images()
    found = session(tmp_path / "m.onnx").run(None, {"image": images})[0]
    np.testing.assert_allclose(found[:, 0], [model.probability(image[0]) for image in images], atol=1e-4)


def test_without_the_packages_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed; .*'bts-tune\[onnx\]'"):
        api.Run(example_run()).export("onnx", tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
