"""What every metric must do."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import SUMS
from bts_tune.training.measure import image_sums


def example(seed: int, count: int = 6, size: int = 16, empty: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and truth, float32 [count, 1, size, size]; the first `empty` images hold no tumour."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(count, 1, size, size, generator=generator) > 0.7).float()
    truth[:empty] = 0
    return 3 * torch.randn(truth.shape, generator=generator), truth


class MetricContract:
    """Inherit it, and name the metric: `name = "my-metric"`.

    Where there is another implementation that it must agree with, override `reference`.
    """

    name: ClassVar[str]

    def reference(self, probability: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
        """Return the metric of probabilities and truth, both [N, S, S], by another implementation; None without one."""
        return None

    @pytest.fixture
    def metric(self) -> Metric:
        """The metric."""
        return METRICS.get(self.name)()

    def test_it_is_declared(self, metric: Metric) -> None:
        """A report says what it is, and which way is better."""
        assert metric.name == self.name
        metric.check_declared(self.name)
        assert metric.title.strip()
        assert metric.definition.strip()
        assert metric.direction in ("minimize", "maximize")
        low, high = metric.range
        assert low < high

    @pytest.mark.parametrize("empty", [0, 2, 6])
    @pytest.mark.parametrize("seed", range(5))
    def test_it_lies_in_its_range(self, metric: Metric, seed: int, empty: int) -> None:
        """None where it is not defined, as on images without a tumour."""
        value = self.of(metric, *example(seed, empty=empty))
        assert value is None or (math.isfinite(value) and metric.range[0] <= value <= metric.range[1])

    @pytest.mark.parametrize("empty", [0, 2])
    def test_a_right_prediction_is_at_least_as_good_as_a_wrong_one(self, metric: Metric, empty: int) -> None:
        """In the metric's direction."""
        _, truth = example(1, empty=empty)
        right = self.of(metric, 20 * (2 * truth - 1), truth)
        wrong = self.of(metric, -20 * (2 * truth - 1), truth)
        if right is not None and wrong is not None:
            assert right <= wrong if metric.direction == "minimize" else right >= wrong

    def test_some_prediction_is_better_than_another(self, metric: Metric) -> None:
        """It is no constant."""
        found = {self.of(metric, *example(seed, empty=2)) for seed in range(5)}
        _, truth = example(1, empty=2)
        found |= {self.of(metric, 20 * (2 * truth - 1), truth), self.of(metric, -20 * (2 * truth - 1), truth)}
        assert len(found) > 1

    @pytest.mark.parametrize("batch", [1, 4])
    def test_it_does_not_depend_on_the_batches(self, metric: Metric, batch: int) -> None:
        """Everything is computed from single images."""
        logits, truth = example(2, empty=1)
        assert self.of(metric, logits, truth, batch) == pytest.approx(self.of(metric, logits, truth), abs=1e-9)

    def test_it_does_not_depend_on_the_order_of_the_images(self, metric: Metric) -> None:
        """A split has none."""
        logits, truth = example(3, empty=1)
        assert self.of(metric, logits.flip(0), truth.flip(0)) == pytest.approx(self.of(metric, logits, truth), abs=1e-9)

    @pytest.mark.parametrize("empty", [0, 2])
    @pytest.mark.parametrize("seed", range(3))
    def test_it_agrees_with_its_reference(self, metric: Metric, seed: int, empty: int) -> None:
        """Where one is named."""
        logits, truth = example(seed, empty=empty)
        expected = self.reference(torch.sigmoid(logits.double())[:, 0].numpy(), truth.double()[:, 0].numpy())
        if expected is None:
            pytest.skip(f"{self.name} names no reference")
        assert self.of(metric, logits, truth) == pytest.approx(expected, abs=1e-5)

    @staticmethod
    def of(metric: Metric, logits: torch.Tensor, truth: torch.Tensor, batch: int | None = None) -> float | None:
        """Return the metric as a trial computes it, from batches of `batch` images."""
        tables = []
        for some, masks in zip(logits.split(batch or len(logits)), truth.split(batch or len(truth)), strict=True):
            columns = [image_sums(some, masks)]
            if metric.statistics:
                columns.append(metric.image_statistics(torch.sigmoid(some), masks).double())
            tables.append(torch.cat(columns, dim=1))
        return metric.compute(ImageStatistics([*SUMS, *metric.statistics], torch.cat(tables).numpy()))
