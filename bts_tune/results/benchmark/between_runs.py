"""All runs of a benchmark: which configuration is better over the datasets, and whether the order holds on others.

Between runs only ranks are compared, never values, and only of runs that were measured alike: complete, with the same
definitions of the metrics, the same objective, the same folds and the same configurations, each on images of its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.plugins import plugin_options
from bts_tune.results.benchmark.within_run import WORDS, BenchmarkRun, read_run
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import RunFolder, holds_run
from bts_tune.results.statistics.rank_tests import RankTest, agreement, rank_test, ranks
from bts_tune.text import plural


@dataclass(frozen=True)
class Ranking:
    """Configurations ranked over several datasets that were split alike and measured alike.

    Attributes:
        split: the split method; None for each dataset's own.
        runs: that count, one for each dataset.
        names: the configurations that all of them measured, by mean rank.
        mean_ranks: in that order.
        test: what the ranks tell; None where there are too few datasets for any answer.
        left_out: sentences on runs and configurations that do not count.
    """

    split: str | None
    runs: tuple[BenchmarkRun, ...]
    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    test: RankTest | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What becomes of the order from one run to another.

    Attributes:
        one, other: the runs.
        tau: Kendall's, between their orders of the configurations that both measured; None where it is not defined.
        turned: pairs, the better of the first run first, that the second has the other way round.
        sure: those of them that both runs are sure of.
    """

    one: BenchmarkRun
    other: BenchmarkRun
    tau: float | None
    turned: tuple[tuple[str, str], ...]
    sure: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found so far.

    Attributes:
        record: the content of `benchmark.json`.
        runs: in the order of its file.
        folder: where it is.
    """

    record: Mapping[str, Any]
    runs: tuple[BenchmarkRun, ...]
    folder: BenchmarkFolder

    @property
    def command(self) -> str:
        """The command that goes on with it, from any folder."""
        # Those of its own file load by themselves, from where it is now.
        named = [name for one in self.record["runs"].values() for name in one["options"].get("plugins", ())]
        own = {Path(name).name for name in named}
        recorded = [one for run in self.runs for one in (run.run or {}).get("plugins") or ()]
        plugins = [one for one in recorded if Path(str(one.get("name"))).name not in own]
        results = self.folder.path.absolute().parent
        words = [str(self.record.get("source", "FILE.yaml")), "--results", str(results), *plugin_options(plugins)]
        return shlex.join(["bts-tune", "benchmark", *words])

    @property
    def names(self) -> list[str]:
        """The configurations, in the order of the file."""
        return list(self.record["configurations"])

    @property
    def objective(self) -> Objective:
        """What configurations are ranked by."""
        return next((run.objective for run in self.runs if run.run is not None), DICE_LOSS)

    @cached_property
    def split(self) -> str:
        """The split that ranks are of: `test` where all complete runs have one, otherwise `valid`."""
        measured = [run for run in self.runs if run.status == "complete" and run.results]
        return "test" if measured and all("test" in run.results for run in measured) else "valid"

    @property
    def complete(self) -> bool:
        """Whether every run is."""
        return all(run.status == "complete" for run in self.runs)

    @cached_property
    def rankings(self) -> list[Ranking]:
        """The ranks over datasets, of each split method by itself: two splits of one dataset are not two datasets."""
        splits = list(dict.fromkeys(run.split for run in self.runs))
        return [self._ranking(split) for split in splits]

    @cached_property
    def changes(self) -> list[Change]:
        """What each change of dataset, or of split, does to the order; of complete runs that were measured alike."""
        counted = [run for run in self.runs if run.status == "complete" and self.split in run.results]
        alike = [(one, other) for one, other in combinations(counted, 2) if not _differences(one, other)]
        return [
            self._change(one, other) for one, other in alike if one.dataset == other.dataset or one.split == other.split
        ]

    def _ranking(self, split: str | None) -> Ranking:
        left_out: list[str] = []
        counted: list[BenchmarkRun] = []
        for run in (run for run in self.runs if run.split == split):
            why = self._why_not(run, counted)
            if why:
                left_out.append(f"{run.name} does not count: {why}.")
            else:
                counted.append(run)
        common = self.names
        for run in counted:
            lacking = [name for name in common if run.results[self.split].entry(name) is None]
            left_out += [f"{name} does not count: in {run.name} {run.lack(name, self.split)}." for name in lacking]
            common = [name for name in common if name not in lacking]
        if not counted or len(common) < 2:
            return Ranking(split, tuple(counted), (), (), None, tuple(left_out))
        table = np.array([self._ranks(run, common) for run in counted])
        means = table.mean(axis=0)
        order = sorted(range(len(common)), key=lambda place: (means[place], common[place]))
        return Ranking(
            split,
            tuple(counted),
            tuple(common[place] for place in order),
            tuple(float(means[place]) for place in order),
            rank_test(table),
            tuple(left_out),
        )

    def _why_not(self, run: BenchmarkRun, counted: Sequence[BenchmarkRun]) -> str:
        if run.status != "complete":
            return "it has not begun" if run.run is None else f"it is not complete ({run.status})"
        if self.split not in run.results and any(run.trained.values()):
            return f"none of its trainings has a {self.objective.title} on the {WORDS[self.split]}"
        if self.split not in run.results:
            return "none of its trainings came to its end"
        if counted and (differences := _differences(counted[0], run)):
            return f"it was not measured as {counted[0].name}: {', '.join(differences)}"
        same = [other.name for other in counted if run.content is not None and other.content == run.content]
        return f"its images are those of {same[0]}, which would count twice" if same else ""

    def _ranks(self, run: BenchmarkRun, names: Sequence[str]) -> Any:
        entries = [run.results[self.split].entry(name) for name in names]
        lower = self.objective.direction == "minimize"
        return ranks([one.value for one in entries if one is not None], lower_is_better=lower)

    def _change(self, one: BenchmarkRun, other: BenchmarkRun) -> Change:
        first, second = one.results[self.split], other.results[self.split]
        common = [name for name in self.names if first.entry(name) and second.entry(name)]
        tau = agreement(self._ranks(one, common), self._ranks(other, common)) if len(common) > 1 else None
        turned, sure = [], []
        for names in combinations(common, 2):
            here, there = first.pair(*names), second.pair(*names)
            if here is None or there is None or here.one == there.one or not here.gain or not there.gain:
                continue
            turned.append((here.one, here.other))
            if here.sure and there.sure:
                sure.append((here.one, here.other))
        return Change(one, other, tau, tuple(turned), tuple(sure))


class BenchmarkReader:
    """Reads a benchmark again and again while it goes on; what is complete is compared once."""

    def __init__(self, folder: BenchmarkFolder) -> None:
        self._folder = folder
        self._complete: dict[str, tuple[Any, BenchmarkRun]] = {}

    def read(self) -> BenchmarkResult:
        """Return what the benchmark found so far.

        Raises:
            RunError: a record cannot be read.
        """
        record = self._folder.read()
        runs = [self._read(name, one["dataset"], one["split"]) for name, one in record["runs"].items()]
        return BenchmarkResult(record, tuple(runs), self._folder)

    def _read(self, name: str, dataset: str, split: str | None) -> BenchmarkRun:
        path = self._folder.run_path(name)
        if not holds_run(path):
            return BenchmarkRun(name, dataset, split)
        folder = RunFolder.open(path)
        run = folder.read_run()
        stamp = (run.get("status"), run.get("ended"))
        if name not in self._complete or self._complete[name][0] != stamp:
            self._complete[name] = (stamp, read_run(folder, name, dataset, split))
        return self._complete[name][1]


def _differences(one: BenchmarkRun, other: BenchmarkRun) -> list[str]:
    """Return why ranks of two runs are not to be set side by side, each as a few words."""
    found = []
    if one.definitions != other.definitions:
        found.append(f"different definitions of the metrics (version {one.definitions}; {other.definitions})")
    if one.objective != other.objective:
        found.append(f"different objectives ({one.objective.title}; {other.objective.title})")
    options = [(run.run or {}).get("options") or {} for run in (one, other)]
    if options[0].get("folds") != options[1].get("folds"):
        found.append("different folds")
    if options[0].get("overrides") != options[1].get("overrides"):
        found.append("different settings")
    return found


def partial_sentence(result: BenchmarkResult) -> str | None:
    """Return the warning of a benchmark that is not complete; None for a complete one."""
    waiting = [run.name for run in result.runs if run.status != "complete"]
    if not waiting:
        return None
    return (
        f"PARTIAL: {plural(len(waiting), 'run')} of {len(result.runs)} {'is' if len(waiting) == 1 else 'are'} not "
        f"complete ({', '.join(waiting)}); what is recorded so far is shown."
    )
