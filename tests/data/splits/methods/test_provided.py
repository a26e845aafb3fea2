from __future__ import annotations

import pytest

from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.methods.provided import ProvidedSplit
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.testing.splits import SplitMethodContract
from tests.data.splits.builders import Scanned


class TestProvided(SplitMethodContract):
    @pytest.fixture
    def method(self) -> ProvidedSplit:
        return ProvidedSplit()


def test_the_provided_split_is_kept(phantoms: Scanned) -> None:
    dataset, split = make_split(phantoms.dataset, phantoms.scan, group_by=PATIENT)
    assert dataset == phantoms.dataset
    assert split.summary["groups"] == {"count": 25, "largest": 8, "median": 8, "in_several_splits": 0}
    assert not split.summary["leak"]["leaks"]


def test_that_of_the_real_dataset_leaks(real: Scanned) -> None:
    _, split = make_split(real.dataset, real.scan)
    leak = split.summary["leak"]["splits"]
    assert leak["valid"]["look_alike_share"] == pytest.approx(0.758, abs=0.01)
    assert leak["test"]["look_alike_share"] == pytest.approx(0.712, abs=0.01)
    assert leak["valid"]["related_share"] == pytest.approx(0.956, abs=0.01)
    assert split.summary["groups"]["count"] == pytest.approx(389, abs=3)
    assert split.summary["groups"]["largest"] == pytest.approx(69, abs=3)
    assert split.summary["groups"]["median"] == 5
    assert split.summary["outside"] == pytest.approx(0.174, abs=0.01)
