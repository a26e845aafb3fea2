from __future__ import annotations

import copy
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from bts_tune import registry
from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.models.build import build_model, count_parameters, parameters_of, to_device
from bts_tune.models.weights import EncoderWeights
from bts_tune.space import load_space

DECODERS = registry.DECODERS.names()


def build(*, seed: int = 0, **fields: Any) -> Any:
    part = TrialConfig(**{"encoder": "resnet18", **fields})
    torch.manual_seed(seed)
    return build_model(part, EncoderWeights(part.encoder))


def suitable(decoder: str) -> dict[str, Any]:
    return {"decoder": decoder, "encoder": "tu-test_vit" if decoder == "dpt" else "resnet18"}


def image(size: int = 64, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def dropouts(model: nn.Module) -> dict[str, float]:
    """Return the rates of the dropout layers outside the encoder that do something."""
    return {
        name: module.p
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p and not name.startswith("encoder.")
    }


def places(model: Any, layer: nn.Module, size: int = 64) -> int:
    """Return how often a forward pass goes through a layer."""
    calls = []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(image(size))
    handle.remove()
    return len(calls)


# --- the documented models ---

BASELINES = {
    "unet-b0": (smp.Unet, "efficientnet-b0", 0.5, 4),
    "unet-b0-frozen": (smp.Unet, "efficientnet-b0", 0.5, 4),
    "unetplusplus-b5": (smp.UnetPlusPlus, "efficientnet-b5", 0.0, 0),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_built_as_documented(name: str) -> None:
    architecture, encoder, rate, dropped_blocks = BASELINES[name]
    resolved = load_space("baseline").resolve(overrides={"encoder_weights": "none"})
    (config,) = [trial.config for trial in resolved.named if trial.name == name]
    model: Any = build_model(config, EncoderWeights(config.encoder))

    assert type(model) is architecture
    assert model.name.endswith(encoder)
    plain = architecture(encoder, encoder_weights=None, in_channels=1, classes=1)
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == {
        key: tensor.shape for key, tensor in plain.state_dict().items()
    }
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(image()), model.eval()(image()))
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.encoder.modules())
    assert model(image()).shape == (2, 1, 64, 64)
    if rate:
        assert dropouts(model) == {"decoder_dropout": rate, "head_dropout": rate}
        assert places(model, model.decoder_dropout) == dropped_blocks == len(model.decoder.blocks) - 1
        assert places(model, model.head_dropout) == 1
    else:
        assert dropouts(model) == {}


# --- dropout ---


def test_decoder_dropout_acts_on_whole_channels_after_each_block_but_the_last() -> None:
    model = build(decoder="unet", decoder_dropout=0.5)
    outputs: dict[int, torch.Tensor] = {}
    for index, block in enumerate(model.decoder.blocks):
        block.register_forward_hook(lambda _m, _i, output, index=index: outputs.__setitem__(index, output))
    with torch.no_grad():
        model(image())
    for index in range(4):
        channels = outputs[index].flatten(2).abs().sum(dim=2)
        assert 0.3 < float((channels == 0).float().mean()) < 0.7
    assert float((outputs[4].flatten(2).abs().sum(dim=2) == 0).float().mean()) == 0


def test_unetplusplus_drops_after_every_dense_block_but_the_last() -> None:
    model = build(decoder="unetplusplus", decoder_dropout=0.5)
    assert places(model, model.decoder_dropout) == len(model.decoder.blocks) - 1 == 10
    assert list(model.decoder.blocks)[-1] == "x_0_4"  # the one that feeds the head


def test_head_dropout_acts_on_single_activations_before_the_head() -> None:
    model = build(decoder="unet", head_dropout=0.5)
    seen: dict[str, torch.Tensor] = {}
    model.decoder.register_forward_hook(lambda _m, _i, output: seen.__setitem__("decoder", output.clone()))
    model.segmentation_head[0].register_forward_pre_hook(lambda _m, inputs: seen.__setitem__("head", inputs[0]))
    with torch.no_grad():
        model(image())
    alive = seen["decoder"] != 0
    dropped = (seen["head"] == 0) & alive
    assert 0.45 < float(dropped.sum() / alive.sum()) < 0.55
    kept = alive & ~dropped
    torch.testing.assert_close(seen["head"][kept], 2 * seen["decoder"][kept])


@pytest.mark.parametrize("field", ["decoder_dropout", "head_dropout"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_dropout_acts_in_training_and_not_in_evaluation(decoder: str, field: str) -> None:
    size = 128 if decoder == "pan" else 64
    fields: dict[str, Any] = {
        "decoder": decoder,
        "encoder": "tu-test_vit" if decoder == "dpt" else "tu-test_efficientnet",
    }
    model = build(**{**fields, field: 0.5})
    model.eval()
    with torch.no_grad():
        calm = model(image(size))
        assert torch.equal(model(image(size)), calm)
        torch.testing.assert_close(build(**fields).eval()(image(size)), calm)
        # The layers alone in training mode: batch norm would change the output too.
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p:
                module.train()
        assert not torch.allclose(model(image(size)), calm)


@pytest.mark.parametrize("field", ["decoder_dropout", "head_dropout"])
def test_a_copy_in_evaluation_drops_nothing_while_the_model_is_trained(field: str) -> None:
    """An average of the weights is such a copy."""
    fields: dict[str, Any] = {field: 0.5}
    model = build(decoder="unet", **fields)
    copied = copy.deepcopy(model).eval()
    model.train()
    with torch.no_grad():
        found = copied(image())
        assert torch.equal(found, copied(image()))
        assert torch.equal(found, model.eval()(image()))


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_dropout_means_none(decoder: str) -> None:
    assert dropouts(build(**suitable(decoder))) == {}


@pytest.mark.parametrize("decoder", ["fpn", "pspnet", "deeplabv3", "deeplabv3plus"])
def test_decoders_with_a_dropout_of_their_own_take_its_rate(decoder: str) -> None:
    found = dropouts(build(**suitable(decoder), decoder_dropout=0.3))
    assert list(found.values()) == [0.3]
    assert not hasattr(build(**suitable(decoder), decoder_dropout=0.3), "decoder_dropout")


# --- architectures ---


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_keeps_the_size_and_smps_names(decoder: str) -> None:
    size = 128 if decoder == "pan" else 64
    model = build(**suitable(decoder), decoder_dropout=0.2, head_dropout=0.2)
    assert model(image(size)).shape == (2, 1, size, size)
    plain = smp.create_model(decoder, suitable(decoder)["encoder"], encoder_weights=None, in_channels=1, classes=1)
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "tu-tf_efficientnet_lite0", "mit_b0", "tu-test_convnext"])
def test_encoders_of_other_families(encoder: str) -> None:
    assert build(encoder=encoder)(image(32)).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("decoder", ["unetplusplus", "linknet", "manet"])
def test_encoders_without_a_map_at_half_size_take_dropout(decoder: str) -> None:
    model = build(decoder=decoder, encoder="tu-test_convnext", decoder_dropout=0.5, head_dropout=0.5)
    output = model(image())
    output.sum().backward()
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("size", [32, 96])
def test_a_transformer_takes_images_of_another_size_than_it_was_pretrained_on(size: int) -> None:
    assert build(decoder="dpt", encoder="tu-test_vit").eval()(image(size)).shape == (2, 1, size, size)


def test_what_smp_cannot_combine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"decoder 'linknet' with encoder 'mit_b0' cannot be built: .*not supported"):
        build(decoder="linknet", encoder="mit_b0")


def test_unknown_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown encoder 'resnet-18'.* Did you mean 'resnet18'"):
        build(encoder="resnet-18")


def test_weights_come_from_torchs_seed() -> None:
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_batch_norm_momentum_is_set_everywhere_or_left_as_it_is() -> None:
    def momenta(**fields: Any) -> set[float]:
        model = build(encoder="efficientnet-b0", **fields)
        return {round(module.momentum or 0, 6) for module in model.modules() if isinstance(module, nn.BatchNorm2d)}

    assert momenta() == {0.01, 0.1}
    assert momenta(batch_norm_momentum=0.3) == {0.3}


def test_count_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].weight.requires_grad_(False)
    assert count_parameters(model) == 13
    assert count_parameters(model, trainable_only=True) == 7


def test_to_device_lays_weights_out_channels_last() -> None:
    model: Any = to_device(build(), torch.device("cpu"))
    assert model.encoder.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [("linknet", "tu-test_efficientnet"), ("unet", "resnet18"), ("unet", "mit_b0")],
)
def test_parameters_are_counted_without_building_them(decoder: str, encoder: str) -> None:
    """MiT looks at values while it is built, and so must be built for real."""
    config = TrialConfig.model_validate({"decoder": decoder, "encoder": encoder, "encoder_weights": "none"})
    assert parameters_of(decoder, encoder) == count_parameters(build_model(config, EncoderWeights(encoder)))


def test_a_pair_that_smp_cannot_build_is_named() -> None:
    with pytest.raises(ConfigError, match="decoder 'linknet' with encoder 'mit_b0' cannot be built"):
        parameters_of("linknet", "mit_b0")
