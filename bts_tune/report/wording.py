"""How a report writes numbers: metrics, differences, intervals, shares, durations and counts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bts_tune.text import percent

if TYPE_CHECKING:
    from bts_tune.results.statistics.intervals import Interval

MISSING = "–"

CHANGED = "†"
"""Stands beside a baseline that an override changed; a note below says what that means."""


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
    """Return a difference to four decimals, with its sign; one that rounds to nothing has none."""
    return f"{content:+.4f}".replace("-", "−") if abs(content) >= 0.00005 else "0.0000"


def share(content: float) -> str:
    """Return a share in per cent, never rounded to all or nothing where it is not: `86 %`, `< 1 %`, `> 99 %`."""
    return percent(content).replace("%", "\u00a0%")


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
        if number >= 0.9995 * size:  # what three digits round up to it
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"
