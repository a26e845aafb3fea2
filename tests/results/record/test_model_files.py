from __future__ import annotations

from pathlib import Path

from bts_tune.results.record.model_files import CARD, LAST, WEIGHTS
from tests.training.builders import data, tiny, trained


def test_a_trial_leaves_files_of_these_names(tmp_path: Path) -> None:
    trained(tiny(epochs=1), data(train=4), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CARD, LAST, WEIGHTS}
