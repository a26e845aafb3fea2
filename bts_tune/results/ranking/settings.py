"""The settings of a trial: fields of its configuration as they are shown and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.results.ranking.memo import memoized
from bts_tune.results.record.run_folder import TrialRecord

_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in TrialConfig.model_fields.items()}


_ALWAYS_SHOWN = ("decoder", "encoder", "learning_rate")


@memoized
def fields_of(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Return every field of a configuration, then the parameters of losses and decoders that a trial recorded."""
    return tuple(dict.fromkeys((*_DEFAULTS, *(field for record in trials for field in record.config))))


def has_search(run: Mapping[str, Any]) -> bool:
    """Whether a search drew trials of a run, rather than all being named; True where no space is on record."""
    options, space = run.get("options"), run.get("space")
    if isinstance(options, Mapping) and (options.get("only") or options.get("folds")):
        return False
    return not isinstance(space, Mapping) or not space or bool(space.get("search"))


def others_word(run: Mapping[str, Any]) -> str:
    """Return what the trials of a run are called that are no baselines."""
    return "searched" if has_search(run) else "other trial"


def setting(record: TrialRecord, field: str) -> Any:
    """Return a field of the trial's configuration; one that an earlier version did not record has its default."""
    return record.config.get(field, _DEFAULTS.get(field))


def is_set(record: TrialRecord, field: str) -> bool:
    """Whether a trial's configuration has a field: it lacks the parameters of another loss or decoder than its own."""
    return field in record.config or field in _DEFAULTS


def settings(record: TrialRecord, fields: Iterable[str] | None = None) -> str:
    """Return decoder, encoder and learning rate, then those of `fields` (all by default) that are not at the default.

    The seed and the number of epochs are left out: they have columns of their own.
    """
    own = fields_of([record])
    chosen = set(own if fields is None else fields) - {"seed", "epochs", *_ALWAYS_SHOWN}
    shown = [f"{setting(record, 'decoder')} / {setting(record, 'encoder')}"]
    shown.append(f"learning_rate {value(setting(record, 'learning_rate'))}")
    for field in own:
        if field in chosen and setting(record, field) != _DEFAULTS.get(field):
            shown.append(f"{field} {value(setting(record, field))}")
    return ", ".join(shown)


@memoized
def varied_fields(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the configuration fields that differ between trials, in the order of `TrialConfig`."""
    return [field for field in fields_of(trials) if varies(trials, field)]


def varies(trials: Sequence[TrialRecord], field: str) -> bool:
    """Whether a field differs between trials."""
    contents = (setting(record, field) for record in trials)
    first = next(contents, None)
    text = repr(first)
    return any(other is not first and repr(other) != text for other in contents)


def value(content: Any) -> str:
    """Return a setting as it is shown: numbers to three significant digits, anything else as it stands."""
    return f"{content:.3g}" if isinstance(content, float) else str(content)


def gpus_per_trial(run: Mapping[str, Any]) -> float:
    """Return the GPUs, or the fraction of one, that a trial on a GPU takes."""
    options = run.get("options")
    found = options.get("gpus_per_trial") if isinstance(options, Mapping) else None
    if found == "auto":
        found = run.get("gpus_per_trial")  # what a probe chose
    return float(found) if isinstance(found, int | float) and found > 0 else 1.0
