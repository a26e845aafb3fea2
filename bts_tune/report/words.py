"""The words that every page of a report shares: banners, statuses, marks, and how figures and settings are written."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bts_tune.config import TrialConfig
from bts_tune.report.snapshot import kept
from bts_tune.store import TrialRecord

if TYPE_CHECKING:
    from bts_tune.report.configurations import Configuration
    from bts_tune.report.statistics import Interval

BASELINE_MARK = "*"
CHANGED_MARK = "!"
MISSING = "–"

DEMO_TAG = "DEMO: generated phantoms, not a result"
PARTIAL_TAG = "PARTIAL: the run is not complete"

STATUS_WORDS: Mapping[str, str] = {
    "waiting": "waiting",
    "running": "running",
    "complete": "complete",
    "stopped": "stopped early",
    "interrupted": "interrupted",
    "diverged": "diverged",
    "oom": "out of memory",
    "failed": "failed",
}

_WHY_PARTIAL: Mapping[str, str] = {
    "running": "was still running, or had been killed, when this report was written",
    "interrupted": "was interrupted",
    "out-of-time": "ran out of its time budget",
    "failed": "failed",
}

_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in TrialConfig.model_fields.items()}
_ALWAYS_SHOWN = ("decoder", "encoder", "learning_rate")


def is_demo(run: Mapping[str, Any]) -> bool:
    """Whether the run trained on generated phantoms."""
    return run.get("profile") == "demo"


def is_partial(run: Mapping[str, Any]) -> bool:
    """Whether the run has not done everything that it was asked to do."""
    return run.get("status") != "complete"


def resume_command(run: Mapping[str, Any]) -> str:
    """Return the command that goes on with the run."""
    return f"bts-tune --resume {shlex.quote(str(run.get('run', 'RUN')))}"


def demo_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning that a demo run's report and terminal output begin with; None for a run on real data."""
    if not is_demo(run):
        return None
    return (
        "DEMO: this run trained on generated phantoms, with small images, few epochs and no pretrained weights. "
        "Its figures show that the tool works; they are not a result."
    )


def partial_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning that the report of an unfinished run begins with; None for a complete run."""
    if not is_partial(run):
        return None
    why = _WHY_PARTIAL.get(str(run.get("status")), "is not complete")
    return f"PARTIAL: the run {why}. Everything below covers what is recorded so far. Go on with: {resume_command(run)}"


def leak_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning of a run whose validation images have relatives in training; None where they have none."""
    split = run.get("dataset", {}).get("split", {})
    leak = split.get("leak", {})
    valid = leak.get("splits", {}).get("valid")
    if not leak.get("leaks") or valid is None or None in (valid.get("related_share"), valid.get("look_alike_share")):
        return None
    return (
        f"LEAK: in the {split.get('method')} split, {valid['related_share']:.0%} of the validation images have a "
        f"slice of their own group in the training split, and {valid['look_alike_share']:.0%} a near-duplicate, so "
        "that every figure is too good for new patients. --split grouped keeps relatives together."
    )


def gpus_per_trial(run: Mapping[str, Any]) -> float:
    """Return the GPUs, or the fraction of one, that a trial on a GPU takes."""
    options = run.get("options")
    found = options.get("gpus_per_trial") if isinstance(options, Mapping) else None
    if found == "auto":
        found = run.get("gpus_per_trial")  # what a probe chose
    return float(found) if isinstance(found, int | float) and found > 0 else 1.0


def tags(run: Mapping[str, Any]) -> list[str]:
    """Return the short warnings that stand at the top of every section and figure."""
    return ([DEMO_TAG] if is_demo(run) else []) + ([PARTIAL_TAG] if is_partial(run) else [])


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


def metric(content: Any) -> str:
    """Return a metric to four decimals, or a dash where there is none."""
    return MISSING if content is None else f"{float(content):.4f}"


def mean_and_spread(values: Sequence[float]) -> str:
    """Return mean and sample standard deviation, `0.2104 ± 0.0071`; a single value alone; a dash for none.

    Of two values, which are no more than a range, both stand beside the mean: `0.2104 (0.2054, 0.2154)`.
    """
    if len(values) < 2:
        return metric(values[0] if values else None)
    if len(values) == 2:
        return f"{metric(statistics.fmean(values))} ({', '.join(map(metric, values))})"
    return f"{metric(statistics.fmean(values))} ± {metric(statistics.stdev(values))}"


def spread_words(counts: Iterable[int]) -> str:
    """Return what `mean_and_spread` shows over trainings of these numbers, from `mean` on."""
    counts = set(counts)
    deviation = "mean ± sample standard deviation"
    two = "of two trainings the mean and both values, which are no more than a range"
    if 2 not in counts:
        return deviation
    return f"{deviation}, {two}" if max(counts) > 2 else two


def interval(found: Interval, signed: bool = False) -> str:
    """Return the limits of an interval, such as `0.2011 to 0.2543`, or a dash where there are none."""
    if found.low is None or found.high is None:
        return MISSING
    return f"{gained(found.low)} to {gained(found.high)}" if signed else f"{metric(found.low)} to {metric(found.high)}"


def gained(content: float) -> str:
    """Return a difference to four decimals, with its sign."""
    return f"{content:+.4f}".replace("-", "−")


def share(content: float) -> str:
    """Return a share in per cent, never rounded to all or nothing where it is not."""
    if 0 < content < 0.005:
        return "< 1\u00a0%"
    if 0.995 <= content < 1:
        return "> 99\u00a0%"
    return f"{100 * content:.0f}\u00a0%"


def duration(seconds: float | None) -> str:
    """Return a duration in at most seven characters: `42s`, `12m05s`, `3h04m`, `2d03h`."""
    if seconds is None:
        return MISSING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def count(number: float | None) -> str:
    """Return a count of parameters: `950`, `12.3 k`, `6.25 M`; a dash where it is not known."""
    if number is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def plural(number: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str, length: int) -> str:
    """Return `text` on one line in at most `length` characters: the middle gives way, as names differ at the ends."""
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    tail = (length - 1) // 3
    return f"{flat[: length - 1 - tail]}…{flat[len(flat) - tail :]}"
