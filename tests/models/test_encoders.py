from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.plan import encoders
from bts_tune.models.build import build_model, count_parameters
from bts_tune.models.encoders import FACTS, build_encoder, check_encoder
from bts_tune.models.freezing import EncoderFreeze
from bts_tune.models.weights import EncoderWeights
from bts_tune.space import list_spaces, load_space


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet-b0", "mit_b0", "timm-regnetx_002", "tu-resnet18", "tu-resnet18.a1_in1k"]
)
def test_known_encoders(name: str) -> None:
    check_encoder(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet19", "'resnet18'"), ("efficientnet_b0", "'efficientnet-b0'"), ("tu-tf_eficientnet_lite0", "_lite0'")],
)
def test_unknown_encoder_is_refused_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown encoder '{name}'") as error:
        check_encoder(name)
    assert meant in str(error.value)


@pytest.mark.parametrize("name", ["resnet18", "tu-test_efficientnet"])
def test_builds_an_encoder_for_one_channel(name: str) -> None:
    features = build_encoder(name)(torch.zeros(1, 1, 64, 64))
    assert [feature.shape[-1] for feature in features] == [64, 32, 16, 8, 4, 2]


def test_builds_a_transformer_that_only_dpt_can_use() -> None:
    assert any(key.startswith("model.blocks.") for key in build_encoder("tu-test_vit").state_dict())


def test_an_encoder_that_smp_has_no_use_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'tu-levit_128s' cannot be built: .*pattern\.$"):
        build_encoder("tu-levit_128s")


def offered() -> list[str]:
    """The encoders that a shipped space may ask for."""
    return sorted({encoder for space in list_spaces() for encoder, _ in encoders(space.resolve())})


def test_the_encoders_of_the_shipped_spaces_are_known_with_all_facts() -> None:
    assert set(FACTS) == set(offered())
    page = (Path(__file__).parents[2] / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    for name, facts in FACTS.items():
        assert f"| `{name}` | {facts.parameters:.1f} M | {facts.licence} | {facts.source} |" in page


@pytest.mark.parametrize("name", FACTS)
def test_the_facts_of_an_encoder_are_true(name: str) -> None:
    facts = FACTS[name]
    assert facts.parameters == round(count_parameters(build_encoder(name)) / 1e6, 2)
    if name.startswith("tu-"):
        known = timm.get_pretrained_cfg(name.removeprefix("tu-"))
        assert known is not None
        assert known.license is not None
        assert known.hf_hub_id is not None
        assert known.license.split("-")[0] == facts.licence.split("-")[0].split()[0].lower()
        assert facts.source.startswith(known.hf_hub_id)
    else:
        assert facts.source.startswith(smp.encoders.encoders[name]["pretrained_settings"]["imagenet"]["repo_id"])


@pytest.mark.parametrize("name", FACTS)
def test_every_decoder_of_the_extended_space_takes_every_encoder(name: str) -> None:
    search = load_space("extended").resolve().search
    assert search is not None
    for decoder in search.parameters["decoder"].choices or []:
        assert (decoder, name) in search.all_models()
        config = TrialConfig.parse({"decoder": decoder, "encoder": name, "encoder_weights": "none"})
        model = build_model(config, EncoderWeights(name)).eval()
        with torch.inference_mode():
            assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("name", FACTS)
def test_every_encoder_can_be_frozen_by_as_many_stages_as_are_searched(name: str) -> None:
    search = load_space("extended").resolve().search
    assert search is not None
    stages = search.parameters["freeze_stages"].bounds
    assert stages is not None
    for freeze_stages in stages:
        config = TrialConfig.parse(
            {"encoder": name, "encoder_weights": "none", "freeze": "stages", "freeze_stages": freeze_stages}
        )
        EncoderFreeze(build_model(config, EncoderWeights(name)), config)
