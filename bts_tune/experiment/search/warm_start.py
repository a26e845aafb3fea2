"""What an earlier run found out, for the searcher of a new one: `--warm-start RUN`.

The new run's `run.json` keeps all that the searcher is told, so that a resume needs the earlier run no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bts_tune.config import FIELDS
from bts_tune.errors import ConfigError, RunError
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.space import ResolvedSearch
from bts_tune.text import quoted

# A trial that failed says nothing of its configuration, and one that was cut off too little.
_TELLING = ("complete", "stopped", "diverged")


def read_earlier(
    folder: RunFolder, earlier: ResolvedSearch | None, search: ResolvedSearch | None, fingerprint: str
) -> dict[str, Any]:
    """Return what the searcher is told of an earlier run, as `run.json` keeps it.

    Args:
        folder: the earlier run.
        earlier: its search, as it was resolved.
        search: the search of the new run.
        fingerprint: of the new run's dataset, its split included.

    Raises:
        ConfigError: the new run has no search, or the two are not comparable; the sentence says in what.
    """
    where = f"--warm-start {folder}"
    if search is None:
        raise ConfigError(f"{where}: nothing is searched, so there is nothing to learn for; leave the option out.")
    if folder.read_run().get("dataset", {}).get("fingerprint") != fingerprint:
        raise ConfigError(f"{where}: it was made on another dataset or another split, so it tells nothing here.")
    if earlier is None:
        raise ConfigError(f"{where}: it searched nothing; name a run of the same space.")
    # A description is for readers of the space, and changes nothing of what is drawn.
    searched, searches = (
        {name: one.model_copy(update={"description": ""}) for name, one in space.parameters.items()}
        for space in (earlier, search)
    )
    if searched != searches:
        names = sorted({*searched, *searches})
        name = next(n for n in names if searched.get(n) != searches.get(n))
        raise ConfigError(f"{where}: its search space is another one: parameter {name!r} differs.")
    for name in dict.fromkeys([*FIELDS, *earlier.fields, *search.fields]):  # a loss has parameters of its own
        before, here = earlier.fields.get(name), search.fields.get(name)
        if name != "seed" and name not in search.parameters and before != here:
            raise ConfigError(
                f"{where}: its trials had {name} {quoted(before)}, here it is {quoted(here)}, so their figures cannot "
                "be compared."
            )
    trials = [
        {
            "trial": record.trial,
            "status": record.status,
            "config": record.config,
            "rows": [{name: row[name] for name in ("epoch", *_values(record.objective))} for row in record.rows],
        }
        for record in folder.trials()
        if record.stage == "search" and record.status in _TELLING
    ]
    if not trials:
        raise ConfigError(f"{where}: no trial of it has ended, so there is nothing to learn from.")
    return {"run": str(folder.path.absolute()), "trials": trials}


def earlier_trials(run: Mapping[str, Any]) -> list[TrialRecord]:
    """Return the trials of an earlier run that `run.json` keeps, for `OptunaTPE.replay`; none without a warm start.

    Raises:
        RunError: what it keeps cannot be read.
    """
    try:
        objective = Objective.of_run(run)
        return [
            TrialRecord(
                trial=one["trial"],
                name=one["trial"],
                index=index,
                baseline=False,
                changed=[],
                published=None,
                config=dict(one["config"]),
                config_id="",
                recipe_id="",
                status=one["status"],
                rows=[
                    {"epoch": int(row["epoch"]), **{name: float(row[name]) for name in _values(objective)}}
                    for row in one["rows"]
                ],
                objective=objective,
            )
            for index, one in enumerate((run.get("warm_start") or {}).get("trials", []))
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"run.json: warm_start: cannot be read: {type(error).__name__}: {error}.") from None


def _values(objective: Objective) -> tuple[str, str]:
    return objective.column, objective.best_column
