"""Averages of weights, against ones made by hand; batch norm under them; resuming; off unless asked for."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.training.averaging import WeightAverage, measure_batch_norm
from bts_tune.training.checkpoint import load_model
from bts_tune.training.loop import rows
from bts_tune.training.measure import measure
from tests.training.builders import data, opened, timeless, tiny, trained

AVERAGES: list[dict[str, Any]] = [
    {"weight_average": "ema", "ema_decay": 0.9},
    {"weight_average": "swa", "swa_start": 0.4},
]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_none_is_the_default() -> None:
    trial = opened(tiny())
    assert trial.average is None
    assert trial.evaluated is trial.model
    trial.close()
    assert TrialConfig().config_id == TrialConfig(weight_average="none").config_id


def test_ema_equals_one_made_by_hand() -> None:
    trial = opened(tiny(epochs=1, **AVERAGES[0]), data(train=12))
    assert trial.average is not None
    expected: dict[str, torch.Tensor] = {}
    steps = 0
    after_step = trial.average.after_step

    def also_by_hand(model: nn.Module) -> None:
        nonlocal expected, steps
        decay = min(0.9, (1 + steps) / (10 + steps))
        now = weights(model)
        if not expected:
            expected = now
        else:
            for name, tensor in now.items():
                if tensor.is_floating_point():
                    expected[name] = decay * expected[name] + (1 - decay) * tensor
                else:
                    expected[name] = tensor
        steps += 1
        after_step(model)

    trial.average.after_step = also_by_hand  # type: ignore[method-assign]
    next(rows(trial))
    found = weights(trial.evaluated)
    trial.close()
    assert steps == 3
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_swa_is_the_mean_over_the_last_epochs(tmp_path: Path) -> None:
    config = tiny(epochs=5, weight_average="swa", swa_start=0.4)
    trial = opened(config)
    states, validated = [], []
    for _ in rows(trial):
        states.append(weights(trial.model))
        validated.append(trial.evaluated is trial.model)
    found = weights(trial.evaluated)
    trial.close()
    assert validated == [True, True, False, False, False]
    for name, parameter in trial.model.named_parameters():
        mean = torch.stack([state[name] for state in states[2:]]).mean(dim=0)
        torch.testing.assert_close(found[name], mean, rtol=1e-5, atol=1e-6)
        assert parameter.is_meta  # closed


def test_batch_norm_under_the_mean_is_measured_on_the_training_images() -> None:
    trial = opened(tiny(batch_size=8, freeze="all"), data(train=8))
    model: Any = copy.deepcopy(trial.model)
    before = weights(model.encoder)
    seen: dict[str, torch.Tensor] = {}

    def watch(module: nn.Module, inputs: tuple[torch.Tensor], _output: torch.Tensor) -> None:
        seen["mean"] = inputs[0].mean(dim=(0, 2, 3))

    layer = next(module for module in model.decoder.modules() if isinstance(module, nn.BatchNorm2d))
    layer.register_forward_hook(watch)
    momentum = layer.momentum
    measure_batch_norm(model, trial.data.train, trial.loader, trial.amp)
    trial.close()
    torch.testing.assert_close(layer.running_mean, seen["mean"])
    assert layer.momentum == momentum
    for name, tensor in weights(model.encoder).items():
        assert torch.equal(tensor, before[name]), "what is frozen keeps its statistics"


@pytest.mark.parametrize("freeze", [{}, {"freeze": "stages", "freeze_stages": 1}, {"freeze": "all"}], ids=str)
def test_under_the_mean_of_weights_every_batch_norm_that_is_trained_is_measured(freeze: dict[str, Any]) -> None:
    """By the inputs of each layer in the pass after the last epoch: the mean over its batches is what is kept."""
    trial = opened(tiny(epochs=2, batch_size=4, weight_average="swa", swa_start=0.0, **freeze), data(train=8))
    assert trial.average is not None
    means: dict[Any, list[torch.Tensor]] = {}

    def watch(module: nn.Module, inputs: tuple[torch.Tensor], _output: torch.Tensor) -> None:
        if module.training:
            means.setdefault(module, []).append(inputs[0].mean(dim=(0, 2, 3)))

    layers = [module for module in trial.average.model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.register_forward_hook(watch)
    found = rows(trial)
    next(found)
    means.clear()
    next(found)
    source: Any = trial.model
    encoder = set(source.encoder.modules())
    trained_layers = {
        own
        for own, other in zip(trial.average.model.modules(), source.modules(), strict=True)
        if isinstance(own, nn.BatchNorm2d) and (other not in encoder or other.weight.requires_grad)
    }
    assert set(means) == trained_layers
    for measured, seen in means.items():
        torch.testing.assert_close(measured.running_mean, torch.stack(seen[-2:]).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert len(trained_layers) == len(layers) or freeze
    assert not any(parameter.requires_grad for parameter in trial.average.model.parameters())
    found.close()
    trial.close()


@pytest.mark.parametrize("average", AVERAGES, ids=["ema", "swa"])
def test_the_average_is_validated_and_kept(tmp_path: Path, average: dict[str, Any]) -> None:
    trial = opened(tiny(epochs=4, **average), folder=tmp_path)
    found = list(rows(trial))
    last = measure(trial.evaluated, trial.data.valid, trial.loader, trial.amp, trial.loss)
    assert last.metrics["dice_loss"] == found[-1].val_dice_loss
    assert trial.evaluated is not trial.model
    if found[-1].best_epoch == 4:
        saved, now = weights(load_model(tmp_path).model), weights(trial.evaluated)
        assert all(torch.equal(saved[name], now[name]) for name in saved)
    trial.close()
    plain = trained(tiny(epochs=4))
    assert found[-1].train_loss == plain[-1].train_loss, "training itself is not changed"
    assert found[-1].val_dice_loss != plain[-1].val_dice_loss


@pytest.mark.parametrize("average", AVERAGES, ids=["ema", "swa"])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_trial_equals_one_that_never_stopped(tmp_path: Path, average: dict[str, Any], stop: int) -> None:
    config = tiny(epochs=5, decoder_dropout=0.0, **average)
    whole = [timeless(row) for row in trained(config)]
    trial = opened(config, folder=tmp_path)
    list(islice(rows(trial), stop))
    trial.close()
    again = opened(config, folder=tmp_path)
    assert len(again.done) == stop
    found = [timeless(row) for row in rows(again)]
    again.close()
    assert found == whole


def test_the_decay_grows_so_that_the_first_weights_are_soon_forgotten() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    average = WeightAverage(model, tiny(weight_average="ema", ema_decay=0.999))
    average.after_step(model)
    model.weight.data.fill_(0.0)
    for _ in range(20):
        average.after_step(model)
    assert float(average.model.weight) < 0.01
