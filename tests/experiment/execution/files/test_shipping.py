from __future__ import annotations

from bts_tune.config import PreprocessingPart
from bts_tune.experiment.execution.files.shipping import handed_out
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.models.weights import EncoderWeights


def test_what_trials_need_is_handed_out_and_nothing_else() -> None:
    weights = {
        ("a", "imagenet"): EncoderWeights("a", "/weights/a.pth", "0"),
        ("b", "none"): EncoderWeights("b"),
    }
    parts: dict[tuple[PreprocessingPart, int | None], str] = {
        (PreprocessingPart(), fold): f"/cache/{fold}" for fold in (1, 2)
    }
    assert handed_out(TrialInputs(parts, weights, {})) == ["/cache/1", "/cache/2", "/weights/a.pth"]
