"""The lower fidelity of a search, whose figures are not comparable with those of the final stage."""

from __future__ import annotations

from collections.abc import Sequence

from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.text import percent

_WORDS = {
    "image_size": "images of {} px",
    "train_share": "{} of the training images",
    "epochs": "a budget of {} epochs",
}


def search_fidelity(trials: Sequence[TrialRecord]) -> str | None:
    """Return what the search's trials were trained with in place of their own fields, in words; None without that."""
    lowered = [record for record in trials if record.stage == "search" and record.full]
    told = []
    for name, words in _WORDS.items():
        values = sorted({setting(record, name) for record in lowered if name in record.full})
        told += [words.format(percent(value) if name == "train_share" else value) for value in values]
    return ", ".join(told) or None


def fidelity_sentence(trials: Sequence[TrialRecord]) -> str | None:
    """Return what a reader of the search's figures must know; None where it trained as the final stage does."""
    lower = search_fidelity(trials)
    if lower is None:
        return None
    return (
        f"The search ran at a lower fidelity ({lower}): its figures rank its own trials, and are not comparable with "
        "those of the final stage, which trains in full."
    )
