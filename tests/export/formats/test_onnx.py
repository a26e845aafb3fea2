from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from bts_tune import api
from bts_tune.errors import ConfigError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats import _portable, base
from bts_tune.export.formats.onnx import DESCRIPTION, Onnx
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


@pytest.mark.parametrize(("height", "width"), [(40, 30), (63, 200)])
def test_an_image_smaller_than_the_network_s_size_is_predicted_as_by_the_run(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    found = session(exported_once(TestOnnx).folder / "model.onnx").run(None, {"image": image[None, None]})[0][0, 0]
    np.testing.assert_allclose(
        found, api.Run(example_run()).best_model("plain", device="cpu").probability(image), atol=1e-5
    )


def test_the_documented_architecture_with_dropout(tmp_path: Path) -> None:
    fields = {"decoder": "unet", "encoder": "efficientnet-b0", "image_size": 32}
    run = api.Run(train_run(tmp_path / "run", {"unet": fields}))
    run.export("onnx", tmp_path / "m.onnx")
    model = run.best_model(device="cpu")
    images = validation_images()
    found = session(tmp_path / "m.onnx").run(None, {"image": images})[0]
    np.testing.assert_allclose(found[:, 0], [model.probability(image[0]) for image in images], atol=1e-4)


def test_it_is_written_where_the_distribution_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(_portable, "version", missing, raising=False)
    described = Onnx().describe(ExportContext(example_run(), "plain"))
    assert described["versions"]["onnxruntime"] == onnxruntime.__version__


@pytest.mark.parametrize(("channels", "order"), [(2, ""), (3, " (red, green, blue)"), (5, "")])
def test_channels_are_described_as_they_are(channels: int, order: str) -> None:
    context = ExportContext(example_run(), "clahe")
    context.segmenter.config = context.segmenter.config.replaced({"channels": channels})
    described = Onnx().describe(context)["input"]
    assert described["values"].startswith(f"{channels} channels, in the order of the files{order}, 0 to 255")
    assert described["equalization"].endswith(", at the image's own size, each channel by itself")


def test_without_the_packages_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed; .*'bts-tune\[onnx\]'"):
        api.Run(example_run()).export("onnx", tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
