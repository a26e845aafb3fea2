"""A benchmark's runs together: which configuration is better on each dataset, and whether the order holds on others.

Within a run all configurations are measured on the same images, and compared there. Between runs only ranks are
compared, never values, and only of runs that were measured alike: complete, with the same definitions of the metrics,
the same objective, the same folds and the same configurations, each on images of its own.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from bts_tune.config import explain
from bts_tune.errors import RunError
from bts_tune.plugins import plugin_options
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import RunFolder, holds_run
from bts_tune.results.record.status import in_group
from bts_tune.results.statistics.comparison import Comparison, SplitComparison, compare_configurations
from bts_tune.results.statistics.intervals import LEVEL, Interval, favours_first, holm, wilcoxon
from bts_tune.results.statistics.rank_tests import RankTest, agreement, rank_test, ranks
from bts_tune.text import plural, quoted

FORMAT = 1
SPLITS = ("test", "valid")
_WORDS = {"test": "test split", "valid": "validation split"}


class _Configuration(BaseModel):
    config: dict[str, Any]
    origin: str
    changed: list[str]
    chosen_on: str | None


class _PlannedRun(BaseModel):
    dataset: str
    split: str | None
    options: dict[str, Any]


class _Definition(BaseModel):
    configurations: dict[str, dict[str, Any]]
    set: dict[str, Any] = {}


class _Record(BaseModel):
    """What of `benchmark.json` is relied on; whatever else is there is passed over."""

    definition: _Definition
    configurations: dict[str, _Configuration]
    runs: dict[str, _PlannedRun]


class BenchmarkFolder:
    """One benchmark on disk: `benchmark.json`, and a run folder for each dataset and split."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def file(self) -> Path:
        """What the benchmark is."""
        return self.path / "benchmark.json"

    def run_path(self, name: str) -> Path:
        """Where the run of a dataset and split is."""
        return self.path / name

    def read(self) -> dict[str, Any]:
        """Return the content of `benchmark.json`.

        Raises:
            RunError: it is not that of a benchmark of this version.
        """
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{self.file}: cannot be read: {error.strerror}.") from None
        except ValueError:
            raise RunError(f"{self.file}: is not JSON; put it back, or begin a new benchmark.") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else content
            raise RunError(
                f"{self.file}: format is {quoted(found)}; this version of bts-tune reads benchmarks of format {FORMAT}."
            )
        try:
            _Record.model_validate(content, strict=True)
        except ValidationError as error:
            raise RunError(
                f"{self.file}: {explain(error)} Put the file back as it was, or begin a new benchmark."
            ) from None
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace `benchmark.json`.

        Raises:
            RunError: it cannot be written.
        """
        text = json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            write_atomically(self.file, text + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: the benchmark's folder cannot be written: {error.strerror}.") from None


@dataclass(frozen=True)
class Entry:
    """One configuration on one split of one run.

    Attributes:
        name: the configuration.
        trainings: how many are behind it.
        value: the mean of the objective over them.
        interval: of that value; None where it cannot be told from the scores of single images.
        dice_loss, iou: likewise, with their intervals; values alone where the scores of one training are not there.
        rank: among those of the run, 1 for the best.
    """

    name: str
    trainings: int
    value: float
    interval: Interval | None
    dice_loss: Interval | None
    iou: Interval | None
    rank: float


@dataclass(frozen=True)
class Pair:
    """Two configurations on the same images.

    Attributes:
        one, other: their names; `one` is the better.
        gain: by how much it is.
        p_value: Wilcoxon's on the Dice of single images, or the means of groups, corrected by Holm over all pairs of
            the split; None without scores of images that hold a tumour.
        favours: the one that the signed ranks of that test favour, which need not be the better by the objective: that
            is over all pixels, or another metric. None where there is no p value.
    """

    one: str
    other: str
    gain: float
    p_value: float | None
    favours: str | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the p value is below 0.05."""
        return self.p_value is not None and self.p_value < 1 - LEVEL

    @property
    def sure(self) -> bool:
        """Whether it is, and the test favours the better one too."""
        return self.is_significant and self.favours == self.one


@dataclass(frozen=True)
class SplitResult:
    """What one split of a run tells.

    Attributes:
        images, tumours, groups, tumour_groups: as in `SplitComparison`; None where no scores of images are on record.
        entries: best first.
        pairs: of all of them, in the order of `entries`.
    """

    images: int | None
    tumours: int | None
    groups: int | None
    tumour_groups: int | None
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]

    def entry(self, name: str) -> Entry | None:
        """Return the entry of a configuration."""
        return next((one for one in self.entries if one.name == name), None)

    def pair(self, one: str, other: str) -> Pair | None:
        """Return the pair of two configurations, whichever is better."""
        return next((pair for pair in self.pairs if {pair.one, pair.other} == {one, other}), None)


@dataclass(frozen=True)
class BenchmarkRun:
    """One run of a benchmark: all configurations on one dataset and split.

    Attributes:
        name: of its folder.
        dataset: the dataset's name.
        split: the split method that was asked for; None for the dataset's own.
        run: the content of its `run.json`; None where it has not begun.
        results: by split, `test` and `valid`; only those that were measured.
        planned: how many trainings of each configuration were planned.
        trained: how many of them came to their end.
        failed: how many of them failed, ran out of memory or diverged.
        missing: sentences on scores that are not there or cannot be used.
    """

    name: str
    dataset: str
    split: str | None
    run: Mapping[str, Any] | None = None
    results: Mapping[str, SplitResult] = field(default_factory=dict)
    planned: Mapping[str, int] = field(default_factory=dict)
    trained: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """How it stands: as it recorded, or 'not begun'."""
        return "not begun" if self.run is None else str(self.run.get("status"))

    @property
    def lacking(self) -> list[str]:
        """The configurations of which not all trainings came to their end."""
        return [name for name, planned in self.planned.items() if self.trained.get(name, 0) < planned]

    @property
    def models_lacking(self) -> list[str]:
        """The trainings whose models are not there, or not as they were saved, where it is complete."""
        return [str(one) for one in (self.run or {}).get("models_lacking") or ()]

    def lack(self, name: str, split: str) -> str:
        """Return why it has no value of a configuration on a split, as a clause; "" where it has one."""
        if split in self.results and self.results[split].entry(name) is not None:
            return ""
        trained, planned, failed = (of.get(name, 0) for of in (self.trained, self.planned, self.failed))
        if trained:
            end = "came to its end" if trained == 1 else "came to their end"
            return f"{plural(trained, 'training')} of it {end}, without a {self.objective.title} on the {_WORDS[split]}"
        return f"no training of it came to its end{f' ({failed} of {planned} failed)' if failed else ''}"

    @property
    def objective(self) -> Objective:
        """What its best epochs are chosen by, and its configurations ranked by."""
        return DICE_LOSS if self.run is None else Objective.of_run(self.run)

    @property
    def content(self) -> str | None:
        """Names its images and their truth, however they are split."""
        found = (self.run or {}).get("dataset", {}).get("content")
        return found if isinstance(found, str) else None

    @property
    def definitions(self) -> Any:
        """The version of the metrics' definitions; runs from before it was recorded have the first."""
        return (self.run or {}).get("metrics", 1)


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
        plugins = [one for run in self.runs for one in (run.run or {}).get("plugins") or ()]
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
            return f"none of its trainings has a {self.objective.title} on the {_WORDS[self.split]}"
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


def read_run(folder: RunFolder, name: str, dataset: str, split: str | None) -> BenchmarkRun:
    """Read one run of a benchmark, and compare its configurations.

    Raises:
        RunError: its record cannot be read.
    """
    run, trials = folder.read_run(), folder.trials()
    found = configurations(trials)
    comparison = compare_configurations(folder, trials)
    results = {}
    for measured in SPLITS:
        result = _split_result(found, comparison, measured)
        if result is not None:
            results[measured] = result
    of_result = [record for record in trials if record.stage == result_stage(trials)]
    planned = Counter(record.name for record in of_result)
    failed = Counter(record.name for record in of_result if record.status in in_group("failed"))
    trained = {one.name: len(one.trials) for one in found}
    return BenchmarkRun(name, dataset, split, run, results, planned, trained, failed, comparison.missing)


def _split_result(found: Sequence[Configuration], comparison: Comparison, split: str) -> SplitResult | None:
    compared = comparison.splits.get(split)
    prefix = {"test": "test", "valid": "val"}[split]
    measured = []
    for one in found:
        values = one.values(f"{prefix}_{one.objective.metric}")
        if values:
            measured.append((one, statistics.fmean(values), len(values)))
    if not measured:
        return None
    objective = found[0].objective
    places = ranks([value for _, value, _ in measured], lower_is_better=objective.direction == "minimize")
    folds = {record.fold for one in found for record in one.trials} - {None}
    entries = []
    for (one, value, trainings), rank in zip(measured, places, strict=True):
        place = compared.place(one) if compared else None
        own = None
        dice_loss, iou = (_mean(one.values(f"{prefix}_{metric}")) for metric in ("dice_loss", "iou"))
        if compared is not None and place is not None:
            replicates = int((~np.isnan(compared.sums[place, :, 0, 0])).sum())
            # An interval from fewer trainings than the mean would be another value's.
            if replicates * (len(folds) if folds and split == "valid" else 1) == trainings:
                resampled = compared.resampled
                own = resampled.value[place] if compared.objective == objective else None
                dice_loss, iou = resampled.dice_loss[place], resampled.iou[place]
        entries.append(Entry(one.name, trainings, value, own, dice_loss, iou, float(rank)))
    entries.sort(key=lambda one: (one.rank, one.name))
    return SplitResult(
        images=compared.images if compared else None,
        tumours=compared.tumours if compared else None,
        groups=compared.groups if compared else None,
        tumour_groups=compared.tumour_groups if compared else None,
        entries=tuple(entries),
        pairs=_pairs(entries, compared, objective),
    )


def _mean(values: Sequence[float]) -> Interval | None:
    return Interval(statistics.fmean(values), None, None) if values else None


def _pairs(entries: Sequence[Entry], compared: SplitComparison | None, objective: Objective) -> tuple[Pair, ...]:
    places = {one.name: place for place, one in enumerate(compared.configurations)} if compared else {}
    listed = list(combinations(entries, 2))
    raw: dict[int, float] = {}
    favours: dict[int, str] = {}
    for number, (one, other) in enumerate(listed):
        if compared is not None and one.name in places and other.name in places:
            sums = compared.sums[places[one.name]], compared.sums[places[other.name]]
            p_value = wilcoxon(*sums, compared.units)
            if p_value is not None:
                raw[number] = p_value
                favours[number] = one.name if favours_first(*sums, compared.units) else other.name
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    return tuple(
        Pair(
            one.name,
            other.name,
            objective.gain(one.value, other.value),
            corrected.get(number),
            favours.get(number),
        )
        for number, (one, other) in enumerate(listed)
    )


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
