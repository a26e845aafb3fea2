"""Invented runs are like those that a run writes."""

from __future__ import annotations

from pathlib import Path

from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_final, make_search, write_run, write_scores


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    trials = make_search(epochs=3)
    trials += make_final(trials, seeds=2)
    folder = write_run(tmp_path / "run", trials)
    found = folder.trials()
    for one, other in zip(found, trials, strict=True):
        assert (one.trial, one.status, one.rows, one.test, one.config) == (
            *(other.trial, other.status, other.rows, other.test, other.config),
        )
    for record in [record for record in trials if record.stage == "final"]:
        write_scores(folder, record)
    assert compare_configurations(folder, found).missing == ()
