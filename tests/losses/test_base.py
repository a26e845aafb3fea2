from __future__ import annotations

from typing import Any

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.losses.base import LOSSES, ImageMean, Loss
from bts_tune.testing.losses import example


class Squared(Loss):
    definition = "mean squared error"
    source = ""

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return ((torch.sigmoid(logits) - truth) ** 2).mean()


def test_by_default_a_split_has_the_mean_over_its_images() -> None:
    logits, truth = example(count=4)
    loss = Squared(TrialConfig())
    gathered = loss.on_split()
    assert isinstance(gathered, ImageMean)
    gathered.add(logits[:3], truth[:3], {})
    gathered.add(logits[3:], truth[3:], {})
    assert gathered.value() == pytest.approx(float(loss(logits, truth)), rel=1e-5)


def test_every_loss_is_one_file_of_its_name() -> None:
    assert LOSSES.names()[:5] == ("dice-bce", "focal", "focal-tversky", "lovasz", "tversky")
    for name, loss in LOSSES.all().items():
        assert loss.name == name


@pytest.mark.parametrize(
    ("name", "members", "sentence"),
    [
        ("Soft IoU", {}, "loss 'Soft IoU': a name must be of .* lower-case letters, digits, hyphens"),
        ("mine", {"forward": Loss.forward}, "loss 'mine': must define forward"),
        ("mine", {"__init__": lambda self: None}, r"loss 'mine': its __init__ must take .*__init__\(self, config\)"),
    ],
)
def test_what_no_training_can_use_is_refused_when_it_is_registered(
    name: str, members: dict[str, Any], sentence: str
) -> None:
    usable = {"forward": lambda self, logits, truth: logits.mean()}
    with pytest.raises(ConfigError, match=sentence):
        LOSSES.register(name)(type("Mine", (Loss,), usable | members))
    assert name not in LOSSES


def test_an_unknown_loss_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'focal'"):
        TrialConfig.parse({"loss": "focall"})
