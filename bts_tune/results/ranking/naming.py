"""What a reader calls a trial, its role, and the settings that tell it from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bts_tune.results.ranking.memo import memoized
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.run_folder import TrialRecord

if TYPE_CHECKING:
    from bts_tune.results.ranking.configurations import Configuration


BASELINE_MARK = "*"


CHANGED_MARK = "!"


def mark(record: TrialRecord | Configuration) -> str:
    """Return `*` for a baseline, `*!` for a baseline that an override changed, else nothing."""
    if not record.baseline:
        return ""
    return BASELINE_MARK + (CHANGED_MARK if record.changed else "")


@memoized
def names(trials: Sequence[TrialRecord]) -> dict[str, str]:
    """Return what a reader calls each trial, by its identifier; trials of one name are told apart by seed and fold."""
    counts = Counter(record.name for record in trials)
    return {
        record.trial: f"{record.name} {repeat(record)}" if counts[record.name] > 1 else record.name for record in trials
    }


def repeat(record: TrialRecord) -> str:
    """Return what tells a replicate from the others of its configuration: `seed 3`, or `seed 3 fold 2`."""
    fold = "" if record.fold is None else f" fold {record.fold}"
    return f"seed {setting(record, 'seed')}{fold}"


def role(record: TrialRecord | Configuration) -> str:
    """Return `baseline`, `changed baseline` where an override changed it, or an empty string for what was searched."""
    if not record.baseline:
        return ""
    return "changed baseline" if record.changed else "baseline"


def changed_note(trials: Iterable[TrialRecord | Configuration]) -> str | None:
    """Return one sentence that names the changed baselines and their changed fields; None where there are none."""
    by_fields: dict[str, list[str]] = {}
    for record in trials:
        if record.baseline and record.changed:
            listed = by_fields.setdefault(", ".join(record.changed), [])
            if record.name not in listed:
                listed.append(record.name)
    if not by_fields:
        return None
    parts = [f"{', '.join(listed)} ({fields})" for fields, listed in by_fields.items()]
    return f"Changed baselines: {'; '.join(parts)}."


def with_role(name: str, record: TrialRecord | Configuration) -> str:
    """Return `name`, followed by the role in brackets where there is one."""
    return f"{name} ({role(record)})" if record.baseline else name
