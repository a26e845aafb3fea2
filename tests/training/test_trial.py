from __future__ import annotations

import pytest
import torch

from bts_tune.training.loop import rows
from tests.training.builders import data, opened, tiny


def test_a_closed_trial_holds_nothing() -> None:
    trial = opened(tiny(), data())
    described = trial.describe()
    assert described["parameters"] > described["kept_epochs"] == 0
    trial.close()
    assert not trial.optimizer.state
    assert all(parameter.is_meta for parameter in trial.model.parameters())


def test_a_smoothed_truth_is_trained_on_and_a_hard_one_measured() -> None:
    smoothed, plain = (opened(tiny(epochs=1, label_smoothing=smoothing), data()) for smoothing in (0.2, 0.0))
    logits = torch.linspace(-3, 3, 2 * 32 * 32).reshape(2, 1, 32, 32)
    truth = (logits > 1).float()
    soft = torch.where(truth > 0, 0.9, 0.1)
    assert smoothed.step.loss(logits, truth) == pytest.approx(float(plain.loss(logits, soft)))
    assert plain.step.loss(logits, truth) == plain.loss(logits, truth)
    assert smoothed.loss(logits, truth) == plain.loss(logits, truth)
    (one,), (other,) = list(rows(smoothed)), list(rows(plain))
    assert one.train_loss != other.train_loss
    assert one.validation != other.validation  # other weights, measured alike
    smoothed.close()
    plain.close()
