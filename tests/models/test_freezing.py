from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.models.build import build_model, count_parameters
from bts_tune.models.freezing import EncoderFreeze, encoder_stages, set_mode
from bts_tune.models.weights import EncoderWeights

ENCODERS = ["efficientnet-b0", "resnet18", "tu-tf_efficientnet_lite0", "tu-test_convnext", "mit_b0"]


def build(epoch: int = 1, **fields: Any) -> tuple[Any, EncoderFreeze]:
    part = TrialConfig(**{"decoder": "unet", "encoder": "efficientnet-b0", **fields})
    torch.manual_seed(0)
    model = build_model(part, EncoderWeights(part.encoder))
    freeze = EncoderFreeze(model, part)
    freeze.apply(epoch)
    return model, freeze


def image(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def step(model: Any, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    set_mode(model, training=True)
    optimizer.zero_grad(set_to_none=True)
    model(image(seed)).square().mean().backward()
    optimizer.step()


def changed(model: Any, steps: int = 2) -> set[str]:
    """Train, and return the entries of the encoder's state that are no longer what they were."""
    before = {key: tensor.clone() for key, tensor in model.encoder.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    for seed in range(steps):
        step(model, optimizer, seed)
    return {key for key, tensor in model.encoder.state_dict().items() if not torch.equal(tensor, before[key])}


def trained_names(model: Any) -> set[str]:
    return {name for name, parameter in model.encoder.named_parameters() if parameter.requires_grad}


# --- all ---


@pytest.mark.parametrize("encoder", ENCODERS)
def test_autograd_keeps_no_activation_of_a_frozen_encoder(encoder: str) -> None:
    def kept(**fields: Any) -> int:
        model, _ = build(encoder=encoder, **fields)
        set_mode(model, training=True)
        saved: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.encoder(image())
        return sum(saved)

    assert kept(freeze="all") == 0
    assert kept(freeze="epochs", freeze_epochs=1) == 0
    assert kept() > 10_000


@pytest.mark.parametrize("encoder", ENCODERS)
def test_frozen_encoder_does_not_change_at_all(encoder: str) -> None:
    model, _ = build(encoder=encoder, freeze="all")
    assert changed(model) == set()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nothing_goes_backward_through_a_frozen_encoder(encoder: str) -> None:
    model, _ = build(encoder=encoder, freeze="all")
    set_mode(model, training=True)
    assert all(feature.grad_fn is None for feature in model.encoder(image()))


def test_frozen_encoder_is_in_evaluation_mode_while_the_rest_trains() -> None:
    model, _ = build(freeze="all", decoder_dropout=0.5)
    set_mode(model, training=True)
    assert not any(module.training for module in model.encoder.modules())
    assert all(module.training for module in model.decoder.modules())
    assert model.decoder_dropout.training
    # Drop-connect and batch statistics would both make two passes differ.
    assert all(torch.equal(a, b) for a, b in zip(model.encoder(image()), model.encoder(image()), strict=True))
    assert model.encoder._drop_connect_rate > 0


def test_trained_encoder_is_in_training_mode() -> None:
    model, _ = build()
    set_mode(model, training=True)
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        one, other = model.encoder(image())[-1], model.encoder(image())[-1]
    assert not torch.equal(one, other)  # drop-connect


@pytest.mark.parametrize(
    "fields",
    [{}, {"freeze": "all"}, {"freeze": "stages", "freeze_stages": 3}, {"freeze": "epochs", "freeze_epochs": 1}],
)
def test_two_validation_passes_are_identical(fields: dict[str, Any]) -> None:
    model, _ = build(**fields, decoder_dropout=0.5, head_dropout=0.5)
    step(model, torch.optim.SGD(model.parameters(), lr=0.01))
    set_mode(model, training=False)
    assert not any(module.training for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(image()), model(image()))


def test_fewer_trainable_parameters_are_counted() -> None:
    model, _ = build()
    everything = count_parameters(model)
    encoder = count_parameters(model.encoder)
    assert count_parameters(model, trainable_only=True) == everything
    model, _ = build(freeze="all")
    assert count_parameters(model) == everything
    assert count_parameters(model, trainable_only=True) == everything - encoder


# --- epochs ---


def test_thaws_after_the_frozen_epochs() -> None:
    model, freeze = build(freeze="epochs", freeze_epochs=2)
    assert changed(model) == set()
    freeze.apply(2)
    assert trained_names(model) == set()
    freeze.apply(3)
    assert trained_names(model) == {name for name, _ in model.encoder.named_parameters()}
    now = changed(model)
    assert "_conv_stem.weight" in now
    assert any(key.endswith("running_mean") for key in now)


# --- stages ---


@pytest.mark.parametrize("encoder", ENCODERS)
def test_stages_are_nested_and_the_last_holds_everything(encoder: str) -> None:
    model, _ = build(encoder=encoder)
    names = {name for name, _ in model.encoder.named_parameters()}
    stages = encoder_stages(model.encoder)
    assert len(stages) == (4 if encoder in ("mit_b0", "tu-test_convnext") else 5)
    for smaller, larger in pairwise(stages):
        assert smaller < larger
    assert stages[0]
    assert stages[-1] == names


@pytest.mark.parametrize(
    ("encoder", "count", "inside", "outside"),
    [
        ("resnet18", 1, {"conv1", "bn1"}, {"layer1", "layer2", "layer3", "layer4"}),
        ("resnet18", 3, {"conv1", "bn1", "layer1", "layer2"}, {"layer3", "layer4"}),
        ("efficientnet-b0", 1, {"_conv_stem", "_bn0"}, {"_blocks"}),
        ("mit_b0", 1, {"patch_embed1", "block1", "norm1"}, {"patch_embed2", "block4"}),
        (
            "mit_b0",
            2,
            {"patch_embed1", "block1", "norm1", "patch_embed2", "block2", "norm2"},
            {"patch_embed3", "norm3"},
        ),
    ],
)
def test_stages_hold_what_a_reader_of_the_encoder_expects(
    encoder: str, count: int, inside: set[str], outside: set[str]
) -> None:
    model, _ = build(encoder=encoder)
    stage = {name.split(".")[0] for name in encoder_stages(model.encoder)[count - 1]}
    assert stage == inside
    assert not stage & outside


def test_stages_of_efficientnet_follow_the_resolution() -> None:
    """SMP takes EfficientNet-B0's features after the stem and blocks 2, 4, 8 and 15 (counted from 0)."""
    model, _ = build()
    last_blocks = []
    for stage in encoder_stages(model.encoder)[:-1]:
        blocks = {int(name.split(".")[1]) for name in stage if name.startswith("_blocks.")}
        assert blocks == set(range(len(blocks)))
        last_blocks.append(max(blocks, default=-1))
    assert last_blocks == [-1, 2, 4, 8]


def test_stages_of_timm_follow_its_stages() -> None:
    model, _ = build(encoder="tu-tf_efficientnet_lite0")
    deepest = [max(int(n.split(".")[2]) for n in s if ".blocks." in n) for s in encoder_stages(model.encoder)]
    assert deepest == [0, 1, 2, 4, 6]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_frozen_stages_do_not_change_and_the_others_do(encoder: str, count: int) -> None:
    model, _ = build(encoder=encoder, freeze="stages", freeze_stages=count)
    stage = encoder_stages(model.encoder)[count - 1]
    names = {name for name, _ in model.encoder.named_parameters()}
    assert trained_names(model) == names - stage
    now = changed(model)
    assert not now & stage
    frozen_modules = {name.rpartition(".")[0] for name in stage}
    assert not {key for key in now if key.rpartition(".")[0] in frozen_modules}  # batch statistics too
    if stage != names:
        assert now & names


def test_nothing_goes_backward_through_frozen_stages() -> None:
    model, _ = build(encoder="resnet18", freeze="stages", freeze_stages=3)
    set_mode(model, training=True)
    assert [feature.grad_fn is None for feature in model.encoder(image())] == [True] * 4 + [False] * 2


def test_all_stages_are_the_whole_encoder() -> None:
    model, _ = build(freeze="stages", freeze_stages=5)
    assert trained_names(model) == set()
    set_mode(model, training=True)
    assert not any(module.training for module in model.encoder.modules())


@pytest.mark.parametrize(
    ("fields", "available"), [({"encoder": "mit_b0"}, 4), ({"encoder": "resnet18", "decoder": "pspnet"}, 3)]
)
def test_more_stages_than_there_are_is_refused(fields: dict[str, Any], available: int) -> None:
    with pytest.raises(ConfigError, match=rf"freeze_stages is 5, .* has {available} stages .* at most {available}"):
        build(**fields, freeze="stages", freeze_stages=5)


def test_stages_of_a_plain_transformer() -> None:
    model, _ = build(decoder="dpt", encoder="tu-test_vit", freeze="stages", freeze_stages=1)
    assert "model.patch_embed.proj.weight" not in trained_names(model)
    assert trained_names(model)


def test_looking_for_stages_leaves_no_trace() -> None:
    model, _ = build(freeze="all")
    model.train()
    model.encoder._blocks[3].eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    encoder_stages(model.encoder)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())


def test_random_layers_without_parameters_follow_what_they_are_inside_of() -> None:
    model, _ = build(encoder="mit_b0", freeze="stages", freeze_stages=2)
    set_mode(model, training=True)
    random_layers = {
        name: module.training
        for name, module in model.encoder.named_modules()
        if isinstance(module, nn.Dropout) or type(module).__name__ == "DropPath"
    }
    assert {training for name, training in random_layers.items() if name.startswith(("block1", "block2"))} == {False}
    assert {training for name, training in random_layers.items() if name.startswith(("block3", "block4"))} == {True}
