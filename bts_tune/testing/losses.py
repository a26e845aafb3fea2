"""What every training loss must do."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.losses.base import LOSSES, Loss, SplitLoss
from bts_tune.results.record.scores import SUMS
from bts_tune.training.measure import image_sums


def example(seed: int = 0, count: int = 5, size: int = 32, empty: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and a truth with one square each, float32 [count, 1, size, size]; the first `empty` hold none."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.zeros(count, 1, size, size)
    truth[empty:, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    return torch.randn(truth.shape, generator=generator), truth


class LossContract:
    """Inherit it, and name the loss: `name = "my-loss"`; `parameters` are fields of the configuration beside it."""

    name: ClassVar[str]
    parameters: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def loss(self) -> Loss:
        """The loss, built as a trial builds it."""
        config = TrialConfig.parse({"loss": self.name, **self.parameters})
        return LOSSES.get(self.name)(config)

    def test_it_is_declared(self, loss: Loss) -> None:
        """A report says what it is."""
        assert loss.name == self.name
        loss.check_declared(self.name)
        assert loss.definition.strip()

    @pytest.mark.parametrize("empty", [0, 2, 5])
    def test_it_is_a_finite_scalar_with_finite_gradients(self, loss: Loss, empty: int) -> None:
        """Also where no image of the batch holds a tumour."""
        logits, truth = example(empty=empty)
        logits.requires_grad_(True)
        value = loss(logits, truth)
        assert value.shape == ()
        assert torch.isfinite(value)
        value.backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()

    @pytest.mark.parametrize("scale", [30.0, 200.0])
    def test_it_stays_finite_for_confident_predictions(self, loss: Loss, scale: float) -> None:
        """Right and wrong ones."""
        _, truth = example(empty=1)
        for sign in (1, -1):
            logits = (sign * scale * (2 * truth - 1)).requires_grad_(True)
            value = loss(logits, truth)
            value.backward()
            assert torch.isfinite(value)
            assert logits.grad is not None
            assert torch.isfinite(logits.grad).all()

    def test_a_soft_truth_is_fitted(self, loss: Loss) -> None:
        """With `label_smoothing`; a loss that is not meant for it says so, and its configuration is refused."""
        if not loss.takes_soft_truth:
            with pytest.raises(ConfigError, match="label_smoothing is"):
                TrialConfig.parse({"loss": self.name, "label_smoothing": 0.1, **self.parameters})
            return
        logits, truth = example(empty=1)
        logits.requires_grad_(True)
        soft = truth * 0.8 + 0.1
        value = loss(logits, soft)
        value.backward()
        assert torch.isfinite(value)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        assert value.item() != loss(logits, truth).item()

    def test_gradients_are_not_all_zero(self, loss: Loss) -> None:
        """A step along them changes the prediction."""
        logits, truth = example()
        logits.requires_grad_(True)
        loss(logits, truth).backward()
        assert logits.grad is not None
        assert logits.grad.abs().sum() > 0

    def test_it_is_lower_for_a_better_prediction(self, loss: Loss) -> None:
        """Step by step from wrong to right."""
        _, truth = example()
        values = [float(loss(strength * (2 * truth - 1), truth)) for strength in (-4.0, -1.0, 0.0, 1.0, 4.0)]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]

    def test_a_gradient_step_lowers_it(self, loss: Loss) -> None:
        """From random logits."""
        logits, truth = example()
        logits.requires_grad_(True)
        before = loss(logits, truth)
        before.backward()
        assert logits.grad is not None
        after = loss(logits.detach() - 0.1 * logits.grad / logits.grad.norm(), truth)
        assert after.item() < before.item()

    @pytest.mark.parametrize("batch", [1, 2, 5])
    def test_its_value_on_a_split_does_not_depend_on_the_batches(self, loss: Loss, batch: int) -> None:
        """Nor on the order of the images."""
        logits, truth = example(empty=1)
        whole = self._on_split(loss, logits, truth, len(logits))
        assert self._on_split(loss, logits, truth, batch) == pytest.approx(whole, rel=1e-5, abs=1e-6)
        assert self._on_split(loss, logits.flip(0), truth.flip(0), batch) == pytest.approx(whole, rel=1e-5, abs=1e-6)

    def test_its_value_on_one_image_is_the_loss(self, loss: Loss) -> None:
        """A split of one image is a batch of one image."""
        logits, truth = example(count=1)
        expected = float(loss(logits, truth))
        assert self._on_split(loss, logits, truth, 1) == pytest.approx(expected, rel=1e-4, abs=1e-5)

    @staticmethod
    @torch.no_grad()
    def _on_split(loss: Loss, logits: torch.Tensor, truth: torch.Tensor, batch: int) -> float:
        gathered: SplitLoss = loss.on_split()
        for some, masks in zip(logits.split(batch), truth.split(batch), strict=True):
            sums = dict(zip(SUMS, image_sums(some, masks).unbind(dim=1), strict=True))
            gathered.add(some, masks, sums)
        return gathered.value()
