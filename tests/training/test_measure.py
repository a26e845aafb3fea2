from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score

from bts_tune.config import TrialConfig
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.results.record.scores import SUMS, pooled_dice_loss
from bts_tune.training.measure import THRESHOLD, Measured, SplitMeter, image_sums

EQUAL = TrialConfig()


def example(
    seed: int, count: int = 5, height: int = 6, width: int = 7, empty: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and a truth [count, 1, height, width]; the first `empty` images hold no tumour."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 1, height, width, generator=generator)
    truth = (torch.rand(count, 1, height, width, generator=generator) > 0.6).float()
    truth[:empty] = 0
    return logits, truth


class Figures(SimpleNamespace):
    """Loss and metrics as attributes."""

    def __init__(self, found: Measured) -> None:
        super().__init__(loss=found.loss, **found.metrics)


def measured(
    logits: torch.Tensor, truth: torch.Tensor, config: TrialConfig = EQUAL, batch: int | None = None
) -> Figures:
    meter = SplitMeter(DiceBCE(config))
    for some, masks in zip(logits.split(batch or len(logits)), truth.split(batch or len(logits)), strict=True):
        meter.add(some, masks)
    return Figures(meter.result())


def close(one: Figures, other: Figures) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or a == pytest.approx(b, abs=1e-6))
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_definitions_against_plain_numpy() -> None:
    logits, truth = example(1, empty=2)
    p = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)[:, 0]))
    y = truth.numpy().astype(np.float64)[:, 0]
    cut = p > 0.5
    metrics = measured(logits, truth)

    assert metrics.dice_loss == pytest.approx(1 - 2 * (p * y).sum() / (p.sum() + y.sum()), abs=1e-6)
    assert metrics.iou == pytest.approx((cut * y).sum() / np.maximum(cut, y).sum())
    with_tumour = [(c, t) for c, t in zip(cut, y, strict=True) if t.any()]
    assert len(with_tumour) == 3
    assert metrics.iou_image == pytest.approx(np.mean([(c * t).sum() / np.maximum(c, t).sum() for c, t in with_tumour]))
    assert metrics.dice_image == pytest.approx(
        np.mean([2 * (c * t).sum() / (c.sum() + t.sum()) for c, t in with_tumour])
    )
    assert metrics.empty_false_positive_rate == np.mean([c.any() for c, t in zip(cut, y, strict=True) if not t.any()])
    entropy = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert metrics.loss == pytest.approx(metrics.dice_loss + entropy, abs=1e-5)


def test_agrees_with_smp() -> None:
    logits, truth = example(2)
    metrics = measured(logits, truth)
    stats = smp.metrics.get_stats(torch.sigmoid(logits), truth.long(), mode="binary", threshold=THRESHOLD)

    assert metrics.iou == pytest.approx(float(smp.metrics.iou_score(*stats, reduction="micro")))
    assert metrics.iou_image == pytest.approx(float(smp.metrics.iou_score(*stats, reduction="micro-imagewise")))
    assert metrics.dice_image == pytest.approx(float(smp.metrics.f1_score(*stats, reduction="micro-imagewise")))


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_agrees_with_scikit_learn(seed: int, count: int, empty: int) -> None:
    """Pooled IoU and Dice are Jaccard's index and F1 over all pixels of the split as one list."""
    logits, truth = example(seed, count, empty=min(empty, count))
    cut = (torch.sigmoid(logits) > THRESHOLD).numpy().ravel()
    true = truth.numpy().ravel() > 0
    sums = image_sums(logits, truth).numpy().sum(axis=0)
    assert measured(logits, truth).iou == pytest.approx(jaccard_score(true, cut, zero_division=1))
    cut_sums = np.array([*sums[:3], sums[0], sums[0] + sums[1], sums[0] + sums[2]])
    assert float(pooled_dice_loss(cut_sums)) == pytest.approx(1 - f1_score(true, cut, zero_division=1), abs=1e-6)


@pytest.mark.parametrize(("dice", "bce"), [(1, 1), (0.5, 2), (1, 0), (0, 3)])
@pytest.mark.parametrize("empty", [0, 2, 5])
def test_loss_is_the_objective_with_the_split_as_one_batch(dice: float, bce: float, empty: int) -> None:
    config = TrialConfig(dice_weight=dice, bce_weight=bce)
    logits, truth = example(3, empty=empty)
    assert measured(logits, truth, config).loss == pytest.approx(float(DiceBCE(config)(logits, truth)), rel=1e-5)


def test_threshold_is_exclusive() -> None:
    sums = image_sums(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert sums[0].tolist()[:3] == [0, 0, 4]


def test_sums_are_in_the_documented_order() -> None:
    truth = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    logits = torch.tensor([[[[100.0, -100.0, 100.0, -100.0]]]])
    expected = dict(zip(SUMS, image_sums(logits, truth)[0].tolist(), strict=True))
    assert expected == {
        "true_positives": 1,
        "false_positives": 1,
        "false_negatives": 1,
        "overlap": 1,
        "predicted": 2,
        "truth": 2,
    }


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.int64])
def test_truth_of_any_type(dtype: torch.dtype) -> None:
    logits, truth = example(4)
    assert torch.equal(image_sums(logits, truth.to(dtype)), image_sums(logits, truth))


def test_low_precision_logits_are_summed_in_full_precision() -> None:
    logits = torch.full((1, 1, 64, 64), 0.01, dtype=torch.bfloat16)
    predicted = image_sums(logits, torch.zeros(1, 1, 64, 64))[0, SUMS.index("predicted")]
    assert float(predicted) == pytest.approx(64 * 64 * float(torch.sigmoid(logits.double()[0, 0, 0, 0])), rel=1e-6)


def test_perfect_prediction() -> None:
    truth = example(5)[1]
    metrics = measured(200 * truth - 100, truth)
    assert metrics.loss == pytest.approx(0, abs=1e-6)
    assert metrics.dice_loss == pytest.approx(0, abs=1e-6)
    assert (metrics.iou, metrics.dice_image, metrics.iou_image) == (1, 1, 1)
    assert metrics.empty_false_positive_rate is None


def test_everything_wrong() -> None:
    truth = example(6, empty=1)[1]
    metrics = measured(100 - 200 * truth, truth)
    assert (metrics.iou, metrics.dice_image, metrics.iou_image, metrics.empty_false_positive_rate) == (0, 0, 0, 1)
    assert metrics.dice_loss == pytest.approx(1)


def test_nothing_there_and_nothing_predicted() -> None:
    metrics = measured(torch.full((2, 1, 4, 4), -200.0), torch.zeros(2, 1, 4, 4))
    expected = {"loss": 0.0, "dice_loss": 0.0, "iou": 1.0, "empty_false_positive_rate": 0.0}
    assert vars(metrics) == {**expected, "dice_image": None, "iou_image": None}


def test_nothing_there_but_predicted() -> None:
    metrics = measured(torch.full((2, 1, 4, 4), 200.0), torch.zeros(2, 1, 4, 4))
    assert metrics.dice_loss == pytest.approx(1)
    assert metrics.iou == 0
    assert metrics.dice_image is None
    assert metrics.empty_false_positive_rate == 1


def test_tumour_everywhere() -> None:
    logits = torch.full((2, 1, 4, 4), 200.0)
    metrics = measured(logits, torch.ones(2, 1, 4, 4))
    assert (metrics.iou, metrics.dice_image, metrics.empty_false_positive_rate) == (1, 1, None)


def test_no_tumour_free_image_leaves_the_column_empty() -> None:
    assert measured(*example(7)).empty_false_positive_rate is None


def test_an_overflow_in_a_loss_of_no_weight_does_not_matter() -> None:
    logits, truth = example(8)
    logits[truth == 0] = torch.inf
    assert np.isfinite(measured(logits, truth, TrialConfig(bce_weight=0)).loss)


def test_columns_bear_the_prefix() -> None:
    meter = SplitMeter(DiceBCE(EQUAL))
    meter.add(*example(9))
    assert set(meter.result().columns("test")) == {
        "test_loss",
        "test_dice_loss",
        "test_iou",
        "test_dice_image",
        "test_iou_image",
        "test_empty_false_positive_rate",
    }


def test_soft_dice_loss_of_nothing_is_zero() -> None:
    assert pooled_dice_loss(np.zeros(len(SUMS))) == 0


images = st.tuples(st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 8))


@given(images, st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_no_figure_depends_on_the_batch_size(drawn: tuple[int, int, int], batch: int) -> None:
    seed, count, empty = drawn
    logits, truth = example(seed, count, empty=min(empty, count))
    assert close(measured(logits, truth, batch=batch), measured(logits, truth))


@given(images, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_no_figure_depends_on_the_order(drawn: tuple[int, int, int], random: object) -> None:
    seed, count, empty = drawn
    logits, truth = example(seed, count, empty=min(empty, count))
    order = list(range(count))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert close(measured(logits[order], truth[order]), measured(logits, truth))


@given(images)
@settings(max_examples=50, deadline=None)
def test_figures_stay_in_range(drawn: tuple[int, int, int]) -> None:
    seed, count, empty = drawn
    metrics = measured(*example(seed, count, empty=min(empty, count)))
    assert metrics.loss >= 0
    for value in list(vars(metrics).values())[1:]:
        assert value is None or 0 <= value <= 1
    if metrics.iou_image is not None and metrics.dice_image is not None:
        assert metrics.iou_image <= metrics.dice_image
    assert (metrics.dice_image is None) == (empty >= count)
    assert (metrics.empty_false_positive_rate is None) == (empty == 0)
