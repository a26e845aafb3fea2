"""What a reader calls a trial, its role, and the settings that tell it from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bts_tune.config import TrialConfig
from bts_tune.results.memo import kept
from bts_tune.results.run_folder import TrialRecord

if TYPE_CHECKING:
    from bts_tune.results.configurations import Configuration


BASELINE_MARK = "*"


CHANGED_MARK = "!"


_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in TrialConfig.model_fields.items()}


_ALWAYS_SHOWN = ("decoder", "encoder", "learning_rate")


def mark(record: TrialRecord | Configuration) -> str:
    """Return `*` for a baseline, `*!` for a baseline that an override changed, else nothing."""
    if not record.baseline:
        return ""
    return BASELINE_MARK + (CHANGED_MARK if record.changed else "")


@kept
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
    """Return `baseline`, `baseline, changed: …` with the changed fields, or an empty string for what was searched."""
    if not record.baseline:
        return ""
    return f"baseline, changed: {', '.join(record.changed)}" if record.changed else "baseline"


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


def setting(record: TrialRecord, field: str) -> Any:
    """Return a field of the trial's configuration; one that an earlier version did not record has its default."""
    return record.config.get(field, _DEFAULTS.get(field))


def settings(record: TrialRecord, fields: Iterable[str] | None = None) -> str:
    """Return decoder, encoder and learning rate, then those of `fields` (all by default) that are not at the default.

    The seed and the number of epochs are left out: they have columns of their own.
    """
    chosen = set(_DEFAULTS if fields is None else fields) - {"seed", "epochs", *_ALWAYS_SHOWN}
    shown = [f"{setting(record, 'decoder')} / {setting(record, 'encoder')}"]
    shown.append(f"learning_rate {value(setting(record, 'learning_rate'))}")
    for field in _DEFAULTS:
        if field in chosen and setting(record, field) != _DEFAULTS[field]:
            shown.append(f"{field} {value(setting(record, field))}")
    return ", ".join(shown)


@kept
def varied_fields(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the configuration fields that differ between trials, in the order of `TrialConfig`."""
    return [field for field in _DEFAULTS if len({repr(setting(record, field)) for record in trials}) > 1]


def value(content: Any) -> str:
    """Return a setting as it is shown: numbers to three significant digits, anything else as it stands."""
    return f"{content:.3g}" if isinstance(content, float) else str(content)
