"""How many trials a run has ended, of how many that it is to do: from its record alone, no plugin is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bts_tune.results.record.run_folder import FINISHED, TrialRecord
from bts_tune.space.file import Final

_USUAL = Final()


@dataclass(frozen=True)
class TrialCount:
    """How far a run is.

    Attributes:
        ended: trials that have ended.
        trials: trials that the run is to do; those that are planned so far where the record does not say more.
        at_most: whether it may end with fewer, since its search has a time budget.
    """

    ended: int
    trials: int
    at_most: bool = False

    @property
    def of(self) -> str:
        """How many trials there are, in words."""
        return f"at most {self.trials}" if self.at_most else f"{self.trials}"


def count_trials(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> TrialCount:
    """Return how many trials have ended, and how many the run is to do.

    Of a final stage that is not planned yet, the trials that are asked for are counted; there are fewer in the end
    where the search finds fewer configurations.

    Args:
        run: the content of `run.json`.
        trials: its trials.
    """
    ended = sum(record.status in FINISHED for record in trials)
    final_planned = any(record.stage == "final" for record in trials)
    if run.get("status") == "complete" or (final_planned and not search_was_extended(run)):
        return TrialCount(ended, len(trials))
    try:
        wanted, searches = _wanted(run["space"], run["options"], demo=run.get("profile") == "demo")
    except (KeyError, TypeError, ValueError, AttributeError):  # an earlier version, or somebody's own file
        return TrialCount(ended, len(trials))
    if wanted <= len(trials):
        return TrialCount(ended, len(trials))
    return TrialCount(ended, wanted, at_most=searches and run["options"].get("time_budget") is not None)


def search_was_extended(run: Mapping[str, Any]) -> bool:
    """Whether the search of a run was extended since a final stage closed it last; see `final_stage.plan_final`."""
    return len(run.get("extensions") or []) > run.get("extensions_closed", 0)


def _wanted(space: Mapping[str, Any], options: Mapping[str, Any], *, demo: bool) -> tuple[int, bool]:
    """Return how many trials a run is to do, as `space.Space.resolve` reads its record, and whether it searches."""
    only = options.get("only") or ()
    named = {name: bool(trial.get("baseline")) for name, trial in space["trials"].items() if not only or name in only}
    one_seed = "seed" in (options.get("overrides") or {})
    seeds = 1 if one_seed else int(options.get("seeds") or len(space["seeds"]))
    search = None if only else space.get("search")
    wanted = len(named) * seeds * int(options.get("folds") or 1)
    # A space of a version without a final stage has none on record.
    own = {} if search is None else {"top": 0, **(search.get("final") or {})}
    searched = 0
    if search is not None:
        short = (search.get("demo") or {}) if demo else {}
        searched = int(options.get("num_trials") or short.get("num_trials") or search["num_trials"])
        own |= {name: short[f"final_{name}"] for name in ("top", "seeds") if f"final_{name}" in short}
    given = {name: options.get(f"final_{name}") for name in ("top", "seeds")}
    final = {**_USUAL.model_dump(), **own, **{name: value for name, value in given.items() if value is not None}}
    if final["top"] and (search is not None or given != {"top": None, "seeds": None}):
        baselines = sum(named.values())
        wanted += (baselines + min(final["top"], len(named) - baselines + searched)) * final["seeds"]
    return wanted + searched, search is not None
