"""The definitions of all columns of metrics, as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bts_tune.metrics.base import Metric, metrics_in_use
from bts_tune.registry import METRICS
from bts_tune.report.wording import MISSING
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.tables import further_metrics, further_test_metrics

DEFINITION_HEADER = ("column", "definition", "better", "range")

_OTHERS: Mapping[str, str] = {
    "train_dice_loss": "the formula of val_dice_loss over the training batches of the epoch, augmentation and dropout "
    "on, while the weights change",
    "train_loss": "the training objective over the same batches",
    "test_*": "the same on the test split, computed once, at the epoch that was best on the validation split",
    "best_epoch": "the epoch that is best by the objective (val_dice_loss unless the space names another metric), the "
    "earliest of equals; every metric of a trial in the leaderboard is that epoch's",
    "seconds": "of all recorded epochs, validation included",
    "images_per_second": "training images over training time, validation excluded",
}


def metric_definitions(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[tuple[str, ...]]:
    """Return a row for each column of metrics, as `DEFINITION_HEADER` names its cells.

    Our own metrics declare what they are, and so do those of plugins that are loaded. Of a metric on record whose
    plugin is not loaded, the definition is the one that the run recorded, if it did.
    """
    on_record = dict.fromkeys(
        name.split("_", 1)[1] for name in (*further_metrics(trials), *further_test_metrics(trials))
    )
    registered = metrics_in_use()
    shown = [one for one in registered if one.key() in on_record or not METRICS.is_plugin(one.name)]
    known = {"loss", *(one.key() for one in registered)}
    rows = [_declared(one) for one in shown]
    rows += [_plain(f"val_{key}", _recorded(run, key)) for key in on_record if key not in known]
    rows.append(_plain("val_loss", "the training objective on the validation split"))
    rows += [_plain(f"val_loss, train_loss of {name}", text) for name, text in _texts(run.get("losses")).items()]
    return rows + [_plain(name, text) for name, text in _OTHERS.items()]


def definition(column: str, run: Mapping[str, Any] | None = None) -> str:
    """Return the definition of one of our own columns, or of a plugin's metric.

    Args:
        column: such as `val_iou`.
        run: the content of `run.json`, which defines a metric whose plugin is not loaded.
    """
    rows = [*metric_definitions({}, []), *map(_declared, metrics_in_use())]
    return {row[0]: row[1] for row in rows}.get(column) or _recorded(run or {}, column.split("_", 1)[1])


def _declared(metric: Metric) -> tuple[str, ...]:
    better = "lower" if metric.direction == "minimize" else "higher"
    text = f"{metric.definition} ({metric.source})" if metric.source else metric.definition
    return (f"val_{metric.key()}", text, better, _range(metric))


def _range(metric: Metric) -> str:
    low, high = metric.range
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{low:g}{unit} or more" if math.isinf(high) else f"{low:g} to {high:g}{unit}"


def _plain(column: str, text: str) -> tuple[str, ...]:
    return (column, text, MISSING, MISSING)


def _recorded(run: Mapping[str, Any], key: str) -> str:
    return _texts(run.get("metrics_defined")).get(key) or "not known here: the metric is of a plugin that is not loaded"


def _texts(content: Any) -> dict[str, str]:
    """Return the texts of what should be a mapping from names to texts: `run.json` may come from anywhere."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): text for name, text in content.items() if isinstance(text, str) and text}
