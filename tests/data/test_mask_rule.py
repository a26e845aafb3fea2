from __future__ import annotations

import json

import numpy as np
import pytest

from bts_tune.data.mask_rule import MaskRule, MaskValues, listed

RULES = [
    MaskRule(),
    MaskRule(ignored=(255.0,)),
    MaskRule("half", cut=127.5),
    MaskRule("labels", labels=(1.0, 4.0)),
]


@pytest.mark.parametrize(
    ("rule", "expected"),
    zip(RULES, ([0, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [0, 1, 1, 0, 0]), strict=True),
)
def test_says_which_values_are_tumour(rule: MaskRule, expected: list[int]) -> None:
    plane = np.array([[0, 1, 4, 128, 255]], dtype=np.uint8)
    applied = rule.apply(plane)
    assert applied.dtype == np.uint8
    assert applied.tolist() == [expected]
    counts = np.array([6, 1, 1, 1, 1], dtype=np.uint32)
    assert (
        rule.share(MaskValues("a", plane[0].astype(np.float32), counts, counts, counts, counts)) == sum(expected) / 10
    )


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_kept_as_json(rule: MaskRule) -> None:
    content = json.loads(json.dumps(rule.to_dict(), allow_nan=False))
    assert MaskRule.from_dict(content) == rule
    assert content["says"].endswith(" tumour.") or content["says"].endswith("as chosen.")


def test_values_are_kept_as_json() -> None:
    values = MaskValues(
        "masks/a.png",
        np.array([0, 0.1, 255], dtype=np.float32),
        np.array([3, 2, 1], dtype=np.uint32),
        np.array([3, 0, 1], dtype=np.uint32),
        np.array([3, 2, 1], dtype=np.uint32),
        np.array([3, 2, 0], dtype=np.uint32),
        colour="#ff0000",
    )
    assert MaskValues.from_dict(json.loads(json.dumps(values.to_dict()))) == values
    assert values != MaskValues(
        "masks/b.png", values.values, values.counts, values.flat, values.even, values.lined, colour="#ff0000"
    )


def test_values_are_listed_in_order_and_cut_short() -> None:
    assert listed([4, 0, 1]) == "0, 1 and 4"
    assert listed([2.5]) == "2.5"
    assert listed(range(20)) == "0, 1, 2, 3, 4, 5, 6 and 13 more"
