"""What a run goes on without, where weights cannot be had: without a network, and with what an extra brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

from bts_tune.errors import MissingWeightsError, WeightsError
from bts_tune.experiment.planning.left_out import AtHand, encoders_to_download, leave_out_missing
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.models.encoders import build_encoder
from bts_tune.space import ResolvedSpace, Space, load_space
from tests.experiment.conftest import Command

LITE0, LITE2 = "tu-tf_efficientnet_lite0", "tu-tf_efficientnet_lite2"  # their weights come from packages
SEARCH = {
    "name": "encoders",
    "description": "Two encoders.",
    "search": {
        "parameters": {
            "encoder": {"choices": [LITE0, "resnet18"]},
            "freeze": {"choices": ["none", "all"], "when": {"encoder": ["resnet18"]}},
            "learning_rate": {"float": [1.0e-4, 1.0e-2], "when": {"freeze": ["all"]}},
            "decoder_dropout": {"float": [0.0, 0.5], "when": {"encoder": ["resnet18", LITE0]}},
        }
    },
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a network nor weights of an earlier download."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))


def at_hand(space: Space, tmp_path: Path, **given: Any) -> AtHand:
    options = RunOptions.parse({"space": space.name, **given})

    def resolve(left: Space) -> ResolvedSpace:
        return left.resolve(only=options.only, overrides=options.overrides)

    return leave_out_missing(space, options, tmp_path / "cache", resolve)


def own_space(tmp_path: Path, content: Mapping[str, Any]) -> Space:
    path = tmp_path / "encoders.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_space(str(path))


def choices(space: Space) -> list[Any]:
    assert space.file.search is not None
    return space.file.search.parameters["encoder"].choices or []


def test_an_encoder_of_the_search_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    found = at_hand(own_space(tmp_path, SEARCH), tmp_path)
    assert choices(found.space) == [LITE0]
    assert found.left_out == {"encoders": ["resnet18"], "trials": []}
    assert found.sentence == "LEFT OUT: pretrained weights could not be had, so that the search cannot draw resnet18."
    assert list(found.weights) == [(LITE0, "imagenet")]
    # So is what is drawn with it alone.
    assert found.space.file.search is not None
    assert list(found.space.file.search.parameters) == ["encoder", "decoder_dropout"]
    assert found.space.resolve().search is not None
    assert Space.from_document(found.space.document) == found.space


def test_nothing_is_left_out_where_all_is_there(tmp_path: Path) -> None:
    save_file(build_encoder("resnet18").state_dict(), tmp_path / "resnet18.safetensors")
    space = own_space(tmp_path, SEARCH)
    found = at_hand(space, tmp_path, weights_dir=str(tmp_path))
    assert (found.space, found.left_out, found.sentence) == (space, None, None)
    assert len(found.weights) == 2


def test_what_would_be_downloaded_is_known_without_a_network(tmp_path: Path) -> None:
    space, cache = own_space(tmp_path, SEARCH).resolve(), tmp_path / "cache"
    options = RunOptions.parse({"space": "encoders"})
    assert encoders_to_download(space, options, cache) == ["resnet18"]  # the other one's are installed
    (cache / "weights").mkdir(parents=True)
    save_file(build_encoder("resnet18").state_dict(), cache / "weights" / "resnet18.safetensors")
    assert encoders_to_download(space, options, cache) == []
    (cache / "weights" / "resnet18.safetensors").rename(tmp_path / "resnet18.safetensors")
    assert encoders_to_download(space, options, cache) == ["resnet18"]
    assert encoders_to_download(space, options.replaced(weights_dir=str(tmp_path)), cache) == []
    without = own_space(tmp_path, SEARCH).resolve(overrides={"encoder_weights": "none"})
    assert encoders_to_download(without, options, cache) == []


def test_a_baseline_is_left_out_only_where_that_was_asked_for(tmp_path: Path) -> None:
    extended = load_space("extended")
    with pytest.raises(MissingWeightsError) as error:
        at_hand(extended, tmp_path)
    assert str(error.value).endswith(
        "; or --skip-missing-weights to go on without 'unet-b0', 'unet-b0-frozen', 'unetplusplus-b5'."
    )
    assert "\n" not in str(error.value)
    found = at_hand(extended, tmp_path, skip_missing_weights=True)
    assert found.space.resolve().named == ()
    assert choices(found.space) == [LITE0, LITE2]
    assert found.left_out is not None
    assert found.left_out["trials"] == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5"]
    assert "unet-b0, unet-b0-frozen, unetplusplus-b5 were not trained, nor compared with." in (found.sentence or "")


def test_what_has_its_weights_stays(tmp_path: Path) -> None:
    save_file(build_encoder("efficientnet-b0").state_dict(), tmp_path / "efficientnet-b0.safetensors")
    given = {"weights_dir": str(tmp_path), "skip_missing_weights": True, "only": ["unet-b0", "unetplusplus-b5"]}
    found = at_hand(load_space("baseline"), tmp_path, **given)
    assert found.left_out == {"encoders": [], "trials": ["unetplusplus-b5"]}
    assert found.options.only == ["unet-b0"]
    assert [one.name for one in found.space.resolve(only=found.options.only).named] == ["unet-b0"]


@pytest.mark.parametrize(
    "given",
    [
        {"space": "baseline"},
        {"space": "extended", "overrides": {"encoder": "resnet34"}},
        {"space": "extended", "only": ["unet-b0"]},
    ],
)
def test_where_nothing_would_be_left_the_run_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(MissingWeightsError, match="cannot be downloaded"):
        at_hand(load_space(given.pop("space")), tmp_path, skip_missing_weights=True, **given)


def test_a_mistake_is_none_of_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        at_hand(own_space(tmp_path, SEARCH), tmp_path, weights_dir=str(tmp_path / "nowhere"))


def test_extended_runs_offline_on_what_is_there_and_its_report_says_so(command: Command, tmp_path: Path) -> None:
    command.environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    small = ["--epochs", "1", "--image-size", "32", "--batch-size", "8", "--num-trials", "1", "--final-top", "0"]
    arguments = ["--space", "extended", "--data", str(command.data), "--name", "offline", "--no-dashboard", *small]
    code, _, errors = command.here(*arguments)
    assert code == 2
    assert "--skip-missing-weights to go on without 'unet-b0'" in errors
    code, output, errors = command.here(*arguments, "--skip-missing-weights")
    assert code == 0, errors
    sentence = "LEFT OUT: pretrained weights could not be had, so that the search cannot draw efficientnet-b0"
    assert sentence in output
    folder = command.record("offline")
    (trial,) = folder.trials()
    assert trial.config["encoder"] in (LITE0, LITE2)
    assert trial.config["encoder_weights"] == "imagenet"
    assert folder.read_run()["left_out"]["trials"] == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5"]
    assert sentence in (folder.path / "report.md").read_text()
    code, output, errors = command.here("--resume", "results/offline", "--no-dashboard")
    assert code == 0, errors
    assert len(folder.trials()) == 1
