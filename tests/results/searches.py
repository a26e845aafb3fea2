"""Searches with planted effects."""

from __future__ import annotations

from typing import Any

import numpy as np

from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_row, make_trial

SPACE = {
    "space": {
        "name": "toy",
        "search": {
            "parameters": {
                "learning_rate": {"float": [1e-5, 1e-2], "log": True},
                "decoder_dropout": {"float": [0.0, 0.6], "step": 0.1},
                "freeze": {"choices": ["none", "stages", "all"]},
                "freeze_stages": {"int": [1, 4], "when": {"freeze": ["stages"]}},
            }
        },
    }
}


def searched(count: int, *, stages: float = 0.0, epochs: int = 2, seed: int = 0) -> list[TrialRecord]:
    """Trials whose loss follows from the learning rate, a little from freezing, and not from the dropout.

    `stages` is the effect of `freeze_stages`, in the trials that have it.
    """
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        rate = 10 ** random.uniform(-5, -2)
        freeze = ("none", "stages", "all")[random.integers(3)]
        fields: dict[str, Any] = {"learning_rate": float(rate), "freeze": freeze, "epochs": epochs}
        fields["decoder_dropout"] = float(round(random.integers(7) * 0.1, 1))
        loss = 0.2 + 0.08 * abs(np.log10(rate) + 3) + (0.03 if freeze == "all" else 0.0)
        if freeze == "stages":
            fields["freeze_stages"] = int(random.integers(1, 5))
            loss += stages * fields["freeze_stages"]
        trial = f"search-{number:04d}"
        rows = [make_row(trial, epoch, loss + 0.05 * (epochs - epoch)) for epoch in range(1, epochs + 1)]
        trials.append(make_trial(trial, index=number, rows=rows, **fields))
    return trials
