from __future__ import annotations

import pytest

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.experiment.planning.trial_inputs import TrialInputs


def test_data_is_found_by_preprocessing_and_fold() -> None:
    small, large = (PreprocessingPart(image_size=size) for size in (32, 64))
    inputs = TrialInputs({(small, None): "small", (large, None): "large", (small, 2): "second fold"}, {}, {})
    assert inputs.prepared_for(TrialConfig(image_size=64), None) == "large"
    assert inputs.prepared_for(TrialConfig(image_size=32, learning_rate=0.1), None) == "small"
    assert inputs.prepared_for(TrialConfig(image_size=32), 2) == "second fold"
    with pytest.raises(KeyError):
        inputs.prepared_for(TrialConfig(image_size=96), None)
