from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import bts_tune as bt
from bts_tune import api, plugins
from bts_tune.config import TrialConfig
from bts_tune.data.prepared.images import preprocess
from bts_tune.errors import RunError
from bts_tune.models.decoders.base import DECODERS
from bts_tune.models.decoders.unet import Unet
from bts_tune.testing.exports import ExportContract, example_run, train_run, validation_images

TINY_NET = Path(__file__).parents[3] / "docs" / "examples" / "plugins" / "tiny_net.py"
TINY = {"decoder": "tiny-net", "encoder": "none", "head_dropout": 0.0}


class TestFolder(ExportContract):
    name = "folder"


@pytest.fixture
def registered() -> Iterator[None]:
    """Forgets the decoders that a test registers."""
    yield
    for name in [name for name in DECODERS.registered() if DECODERS.is_plugin(name)]:
        del DECODERS._entries[name]


def exported(run: api.Run, folder: Path, trial: str | None = None) -> tuple[Path, str]:
    """Export into a folder; return it with the lines of Python in its card."""
    run.export("folder", folder, trial=trial)
    text = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return folder, code


def run_lines(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the card's lines where it tells to: in the folder, beside `scan.png`."""
    assert len(code.splitlines()) <= 6
    assert cv2.imwrite(str(folder / "scan.png"), validation_images()[1, 0])
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("trial", ["plain", "clahe"])
def test_the_six_lines_of_the_card_give_the_run_s_probabilities_with_smp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: str
) -> None:
    run = api.Run(example_run())
    folder, code = exported(run, tmp_path / "model", trial)
    assert "bts_tune" not in code
    found = run_lines(code, folder, monkeypatch)["probability"][0, 0].numpy()
    model = run.best_model(trial, device="cpu")
    prepared = preprocess(validation_images()[1, 0], model.config)
    np.testing.assert_allclose(found, model.prepared_probabilities(prepared[np.newaxis])[0], atol=1e-5)


def test_smp_and_bts_tune_load_the_weights_of_the_run(tmp_path: Path) -> None:
    run = api.Run(example_run())
    folder, _ = exported(run, tmp_path / "model", "plain")
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.json", "model.safetensors"}
    assert {os.stat(path).st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    own = run.best_model("plain", device="cpu")
    weights = smp.from_pretrained(folder).state_dict()
    assert weights.keys() == own.network.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in own.network.state_dict().items())
    loaded = bt.load_model(folder, device="cpu")
    assert loaded.config == own.config
    np.testing.assert_array_equal(
        loaded.probability(validation_images()[0, 0]), own.probability(validation_images()[0, 0])
    )


def test_the_card_says_how_dropout_comes_back(tmp_path: Path) -> None:
    folder, _ = exported(api.Run(example_run()), tmp_path / "model", "plain")
    assert "dropout of 0.5 in the decoder and 0.5 before the head" in (folder / "README.md").read_text()
    network: Any = bt.load_model(folder, device="cpu").network
    assert (network.decoder_dropout.p, network.head_dropout.p) == (0.5, 0.5)


def test_the_head_is_metadata_that_the_hub_reads(tmp_path: Path) -> None:
    folder, _ = exported(api.Run(example_run()), tmp_path / "model", "plain")
    data = ModelCard.load(folder / "README.md").data
    assert data.library_name == "segmentation-models-pytorch"
    assert data.pipeline_tag == "image-segmentation"
    (record,) = [one for one in example_run().trials() if one.trial == "plain"]
    assert record.best_row is not None
    results = {(one.dataset_split, one.metric_type): one.metric_value for one in data.eval_results or []}
    assert results["valid", "dice_loss"] == pytest.approx(record.best_row["val_dice_loss"], abs=1e-6)


def test_a_decoder_that_is_not_smp_s_is_loaded_by_bts_tune_and_the_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: None
) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    bt.load_plugin(TINY_NET)
    recorded = [plugin.describe() for plugin in plugins.loaded_plugins()]
    run = api.Run(train_run(tmp_path / "run", {"tiny": TINY}, plugins=recorded))
    folder, code = exported(run, tmp_path / "model")
    assert not (folder / "config.json").exists()
    text = (folder / "README.md").read_text()
    assert "The decoder tiny-net is not one of SMP's" in text
    # Nobody else is told where the plugin lies on this computer.
    assert str(TINY_NET.parent) not in text + (folder / "model.json").read_text()

    plugins._loaded.clear()
    del DECODERS._entries["tiny-net"]
    with pytest.raises(RunError, match=r"plugins that are not loaded; .* add --plugin tiny_net\.py\."):
        bt.load_model(folder)
    shutil.copy(TINY_NET, folder)
    found = run_lines(code, folder, monkeypatch)["probability"]
    np.testing.assert_array_equal(found, run.best_model(device="cpu").probability(validation_images()[1, 0]))


def test_rounding_of_large_logits_makes_no_other_network(tmp_path: Path) -> None:
    run = api.Run(train_run(tmp_path / "run", {"unet": {}}))
    (weights,) = (tmp_path / "run" / "models").glob("*/model.safetensors")
    large = load_file(weights)
    large["segmentation_head.0.weight"] *= 1e4
    save_file(large, weights)
    card = weights.with_name("model.json")
    written = json.loads(card.read_text())
    card.write_text(json.dumps({**written, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}))
    run.export("folder", tmp_path / "model")
    assert (tmp_path / "model" / "config.json").is_file()


def test_a_network_that_a_plugin_changed_after_smp_built_it_is_none_for_smp(tmp_path: Path, registered: None) -> None:
    class Halved(Unet):
        def _create(self, config: TrialConfig) -> Any:
            model = smp.create_model("unet", config.encoder, encoder_weights=None, in_channels=1, classes=1)
            model.segmentation_head.register_forward_hook(lambda _module, _inputs, output: output / 2)
            return model

    DECODERS.register("halved")(Halved)
    run = api.Run(train_run(tmp_path / "run", {"halved": {"decoder": "halved"}}))
    notes = run.export("folder", tmp_path / "model").notes
    assert any("smp.from_pretrained does not" in note for note in notes)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["config"]["decoder"] == "halved"
    assert not (tmp_path / "model" / "config.json").exists()
