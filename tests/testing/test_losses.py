"""A loss that breaks the contract is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.losses.base import LOSSES, Loss
from bts_tune.testing.losses import LossContract


class Wrong(Loss):
    """Higher for a better prediction, and infinite without a tumour."""

    definition, source = "wrong", ""

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(logits) * truth).sum() / truth.sum()


@pytest.fixture
def wrong() -> Iterator[Loss]:
    LOSSES.register("wrong")(Wrong)
    yield Wrong(TrialConfig())
    del LOSSES._entries["wrong"]


def test_what_is_wrong_is_found(wrong: Loss) -> None:
    contract = LossContract()
    with pytest.raises(AssertionError):
        contract.test_it_is_lower_for_a_better_prediction(wrong)
    with pytest.raises(AssertionError):
        contract.test_it_is_a_finite_scalar_with_finite_gradients(wrong, empty=5)
