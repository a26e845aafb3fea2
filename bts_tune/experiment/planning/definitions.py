"""What the losses and metrics of a run mean, for its record: a report needs neither torch nor the plugins to say it."""

from __future__ import annotations

from pathlib import Path

from bts_tune.metrics.base import metrics_in_use, objective
from bts_tune.models.known import definition_of_loss
from bts_tune.registry import METRICS
from bts_tune.results.record.objective import Objective
from bts_tune.space import ResolvedSpace


def definitions_of_losses(space: ResolvedSpace, cache: Path | None = None) -> dict[str, str]:
    """Return the definition of every loss that a trial of the space can have, with its source, by name.

    Args:
        space: the trials.
        cache: folder of the cache; by default `default_cache()`.
    """
    names = [named.config.loss for named in space.named]
    if space.search is not None:
        searched = space.search.parameters.get("loss")
        names += searched.values() if searched is not None else [space.search.fields["loss"]]
    return {name: definition_of_loss(name, cache) for name in dict.fromkeys(names)}


def definitions_of_metrics() -> dict[str, str]:
    """Return the definition of every metric that a plugin registered, by its key."""
    return {metric.key(): metric.definition for metric in metrics_in_use() if METRICS.is_plugin(metric.name)}


def objective_of_space(space: ResolvedSpace) -> Objective:
    """Return the objective of a space's trials, all of which have the same."""
    fields = space.named[0].config.to_dict() if space.named else space.search.fields if space.search else {}
    return objective(fields["objective"])
