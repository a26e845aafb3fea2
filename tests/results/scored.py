"""A small search with scores of single images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.testing.runs import make_row, make_trial, write_run, write_scores


def trial(name: str, loss: float, **kwargs: Any) -> TrialRecord:
    return make_trial(name, rows=[make_row(name, 1, loss)], epochs=1, **kwargs)


def of_seeds(name: str, loss: float, seeds: int) -> list[TrialRecord]:
    trials = [f"{name}-s{seed}" for seed in range(seeds)]
    return [
        make_trial(trial, name=name, rows=[make_row(trial, 1, loss)], epochs=1, seed=seed)
        for seed, trial in enumerate(trials)
    ]


def written(path: Path, trials: list[TrialRecord], qualities: dict[str, float], **kwargs: Any) -> RunFolder:
    folder = write_run(path, trials)
    for record in trials:
        if record.trial in qualities:
            write_scores(folder, record, qualities[record.trial], **kwargs)
    return folder


SEARCHED = [trial("t1", 0.2), trial("weak", 0.4, index=1, baseline=True), trial("good", 0.25, index=2, baseline=True)]
