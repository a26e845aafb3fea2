from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bts_tune import api
from bts_tune.config import Part, TrialConfig
from bts_tune.data.prepared.images import equalize
from bts_tune.data.synthetic.phantom import generate_slice
from bts_tune.errors import RunError
from bts_tune.export.formats.base import Exported
from bts_tune.export.formats.torch_export import DESCRIPTION
from bts_tune.models.decoders.base import DECODERS, Decoder
from bts_tune.testing.exports import ExportContract, example_run, exported_once, train_run, validation_images


class TestTorchExport(ExportContract):
    name = "torch-export"

    def output(self, folder: Path) -> str:
        return str(folder / "model.pt2")

    def probabilities(self, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = torch.export.load(output).module()(torch.from_numpy(images)).numpy()
        return found


@pytest.fixture(scope="module")
def clahe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """The export of the model 'clahe'."""
    path = tmp_path_factory.mktemp("clahe") / "m.pt2"
    return path, api.Run(example_run()).export("torch-export", path, trial="clahe")


def test_images_may_have_any_size() -> None:
    module = torch.export.load(exported_once(TestTorchExport).folder / "model.pt2").module()
    model = api.Run(example_run()).best_model("plain", device="cpu")
    whole = np.asarray(generate_slice(3, image_size=160)[0], dtype=np.uint8)
    for image in (whole, whole[:, 20:120], whole[60:140, 50:90], whole[:40, :30]):
        image = np.ascontiguousarray(image)
        with torch.no_grad():
            found = module(torch.from_numpy(image)[None, None]).numpy()[0, 0]
        # Where OpenCV averages, it may round a grey value otherwise, and a pixel differs a little.
        atol = 0.02 if min(image.shape) >= 64 else 1e-5
        np.testing.assert_allclose(found, model.probability(image), atol=atol)


def test_torch_alone_loads_it() -> None:
    path = exported_once(TestTorchExport).folder / "model.pt2"
    code = (
        "import sys, torch; m = torch.export.load(sys.argv[1]).module();"
        "print(tuple(m(torch.zeros(3, 1, 70, 50, dtype=torch.uint8)).shape));"
        "assert not {'bts_tune', 'segmentation_models_pytorch', 'timm'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "(3, 1, 70, 50)", done.stderr


def test_what_it_is_stands_in_the_file_and_beside_it_with_how_it_was_checked(clahe: tuple[Path, Exported]) -> None:
    run, (path, exported) = api.Run(example_run()), clahe
    beside = json.loads(path.with_name("m.pt2.json").read_text())
    kept = {DESCRIPTION: ""}
    torch.export.load(path, extra_files=kept)
    checked = beside.pop("checked")
    assert json.loads(kept[DESCRIPTION]) == beside
    assert beside["config"] == run.best_model("clahe", device="cpu").config.to_dict()
    assert "createCLAHE" in beside["input"]["equalization"]
    assert any("CLAHE is not in the file" in note for note in exported.notes)
    assert checked["images"] == len(validation_images())
    assert checked["source"] == "of the run's validation split"
    assert 0 <= checked["largest_difference"] < 1e-4


def test_a_network_that_cannot_be_exported_is_refused_in_one_sentence(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if float(image.detach().mean()) > 0 else -image

    @DECODERS.register("branching")
    class BranchingDecoder(Decoder):
        uses_encoder = False

        class Parameters(Part):
            pass

        def build(self, config: TrialConfig) -> nn.Module:
            return nn.Sequential(nn.Conv2d(1, 1, 1), Branching())

    try:
        fields = {"decoder": "branching", "encoder": "none", "decoder_dropout": 0.0, "head_dropout": 0.0}
        run = api.Run(train_run(tmp_path / "run", {"branching": fields}))
        with pytest.raises(RunError, match="cannot write decoder 'branching' on encoder 'none'") as refused:
            run.export("torch-export", tmp_path / "out" / "m.pt2")
    finally:
        del DECODERS._entries["branching"]
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_clahe_is_done_before_it(clahe: tuple[Path, Exported]) -> None:
    run = api.Run(example_run())
    module = torch.export.load(clahe[0]).module()
    image = validation_images()[0, 0]
    with torch.no_grad():
        found = module(torch.from_numpy(equalize(image, "clahe"))[None, None]).numpy()[0, 0]
    np.testing.assert_allclose(found, run.best_model("clahe", device="cpu").probability(image), atol=1e-4)
