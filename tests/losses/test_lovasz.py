from __future__ import annotations

import numpy as np
import pytest

from bts_tune.config import TrialConfig
from bts_tune.losses.lovasz import Lovasz
from bts_tune.testing.losses import LossContract, example


class TestLovasz(LossContract):
    name = "lovasz"


def reference(logits: np.ndarray, truth: np.ndarray) -> float:
    """Algorithm 1 of the paper: hinge errors, weighed by how the Jaccard loss grows as pixels are added by error."""
    errors = 1 - logits * (2 * truth - 1)
    order = np.argsort(-errors)
    true = truth[order]
    jaccard = [
        1 - (true.sum() - true[: n + 1].sum()) / (true.sum() + (1 - true[: n + 1]).sum()) for n in range(len(true))
    ]
    return float(np.maximum(errors[order], 0) @ np.diff([0.0, *jaccard]))


def test_the_algorithm_of_the_paper() -> None:
    logits, truth = example(count=3, size=8, empty=0)
    expected = np.mean([reference(a.numpy().ravel(), b.numpy().ravel()) for a, b in zip(logits, truth, strict=True)])
    assert float(Lovasz(TrialConfig.parse({"loss": "lovasz"}))(logits, truth)) == pytest.approx(expected, rel=1e-5)
