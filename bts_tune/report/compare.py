"""Several runs side by side: ranked together where they were measured alike, and told apart with the reason where not.

Alike means: the same images in the same splits (one fingerprint covers both), the same definitions of the metrics, the
same objective, which chooses the best epochs, the same stage of a run (the search's metrics are optimistic, the final
stage's are not) and the same folds. The image size is not among them: pooled Dice and IoU are ratios of areas, which a
trial's size changes no more than it changes its masks' edges, and a single run ranks trials of several sizes too; the
size stands beside each metric.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.errors import ConfigError, RunError
from bts_tune.report.blocks import Block, Bullets, Document, TitledBlocks, paragraph, table
from bts_tune.report.cells import changed_notes, order, own_header, role_cell
from bts_tune.report.definitions import definition
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.sections.split import recorded_split
from bts_tune.report.wording import MISSING, gained, metric
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.ranking.settings import setting, settings, varied_fields
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.warnings import DEMO_TAG, PARTIAL_RUNS_TAG, demo_sentence, is_demo, is_partial
from bts_tune.text import plural

_HASH_SHOWN = 12


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs that are compared.

    Attributes:
        label: what a reader calls it: its name, or its path where two have the same name.
        run: the content of its `run.json`.
        trials: its trials.
        configurations: those that its result ranks, best first.
    """

    label: str
    run: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    configurations: Sequence[Configuration]

    @property
    def fingerprint(self) -> str | None:
        """Names the images, their truth and their splits; None where it is not on record."""
        return _text(self._dataset.get("fingerprint"))

    @property
    def content(self) -> str | None:
        """Names the images and their truth, however they are split; None in a run of an earlier version."""
        return _text(self._dataset.get("content"))

    @property
    def split(self) -> str:
        """The split's method and the start of its hash."""
        found = recorded_split(self.run)
        return f"{found.get('method', 'unknown')} {str(found.get('hash', MISSING))[:_HASH_SHOWN]}"

    @property
    def method(self) -> str | None:
        """How it was split."""
        return _text(recorded_split(self.run).get("method"))

    @property
    def definitions(self) -> int:
        """The version of the metrics' definitions; runs from before it was recorded have the first."""
        found = self.run.get("metrics", 1)
        return found if isinstance(found, int) else 0

    @property
    def objective(self) -> Objective:
        """What its best epochs are chosen by."""
        return Objective.of_run(self.run)

    @property
    def stage(self) -> str:
        """The stage that its metrics are of."""
        return result_stage(self.trials)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that its metrics are means over; empty without cross-validation."""
        return tuple(sorted({trial.fold for one in self.configurations for trial in one.trials if trial.fold}))

    @property
    def _dataset(self) -> Mapping[str, Any]:
        dataset = self.run.get("dataset")
        return dataset if isinstance(dataset, Mapping) else {}


@dataclass(frozen=True)
class RunComparison:
    """Runs in groups of those that were measured alike, each in the order given."""

    groups: Sequence[Sequence[ComparedRun]]

    @property
    def runs(self) -> list[ComparedRun]:
        """All of them."""
        return [run for group in self.groups for run in group]

    @property
    def ranked(self) -> bool:
        """Whether all runs could be ranked together."""
        return len(self.groups) == 1


def compare(folders: Sequence[RunFolder]) -> RunComparison:
    """Read runs and sort them into groups of those that were measured alike.

    Raises:
        ConfigError: fewer than two runs are given, or one is given twice.
        RunError: a record cannot be read.
    """
    paths = [folder.path.resolve() for folder in folders]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise ConfigError(f"{folders[place].path}: given twice; a run cannot be compared with itself.")
    if len(folders) < 2:
        raise ConfigError("compare: give at least two runs.")
    read = [(folder, folder.read_run(), folder.trials()) for folder in folders]
    names = [str(run.get("run") or folder.path.name) for folder, run, _ in read]
    groups: list[list[ComparedRun]] = []
    for (folder, run, trials), name in zip(read, names, strict=True):
        label = name if names.count(name) == 1 else str(folder.path)
        one = ComparedRun(label, run, trials, configurations(trials))
        for group in groups:
            if not differences(group[0], one):
                group.append(one)
                break
        else:
            groups.append([one])
    return RunComparison(groups)


def differences(one: ComparedRun, other: ComparedRun) -> list[str]:
    """Return why two runs are not to be ranked together, each as a few words; empty where they were measured alike."""
    found = []
    if one.fingerprint is None or other.fingerprint is None:
        found.append("the dataset's fingerprint is not on record")
    elif one.fingerprint != other.fingerprint:
        if one.content is not None and one.content == other.content:
            found.append(f"different splits of one dataset ({one.split}; {other.split})")
        elif one.content is not None and other.content is not None:
            found.append("different datasets, categories or annotations")
        else:
            found.append("different datasets or splits")
    if one.definitions != other.definitions:
        found.append(f"different definitions of the metrics (version {one.definitions}; {other.definitions})")
    if one.objective != other.objective:
        found.append(
            f"different objectives ({one.objective.title}; {other.objective.title}), so that the best epochs are "
            "chosen by different metrics"
        )
    if one.stage != other.stage:
        found.append(f"different stages ({one.stage}; {other.stage}): the search's metrics are optimistic")
    if one.folds != other.folds:
        found.append(f"different folds ({_folds(one)}; {_folds(other)})")
    return found


def comparison_document(comparison: RunComparison) -> Document:
    """Return the comparison as a document; the same runs give the same one."""
    runs = comparison.runs
    sections = [
        TitledBlocks("Runs", tuple(_runs(runs))),
        *([] if comparison.ranked else [TitledBlocks("Not ranked together", tuple(_refusals(comparison)))]),
        *(TitledBlocks(_title(comparison, group), tuple(_ranking(group, runs))) for group in comparison.groups),
    ]
    inflation = tuple(leak_inflation(runs))
    if inflation:
        sections.append(TitledBlocks("Leak inflation", inflation))
    shown = ("val_dice_loss", "val_iou", "test_*")
    definitions = [[name, definition(name)] for name in shown]
    sections.append(TitledBlocks("Metrics", (table(["column", "definition"], definitions),)))
    demo = [run for run in runs if is_demo(run.run)]
    banners = [str(demo_sentence(demo[0].run)).replace("this run", _listed(demo), 1)] if demo else []
    unfinished = [run for run in runs if is_partial(run.run)]
    if unfinished:
        verb = "is" if len(unfinished) == 1 else "are"
        banners.append(f"PARTIAL: {_listed(unfinished)} {verb} not complete; what is recorded so far is compared.")
    return Document(
        title=f"bts-tune: {plural(len(runs), 'run')} compared",
        banners=tuple(banners),
        tags=(*((DEMO_TAG,) if demo else ()), *((PARTIAL_RUNS_TAG,) if unfinished else ())),
        sections=tuple(sections),
    )


def write_comparison(comparison: RunComparison, out: Path) -> list[Path]:
    """Write `compare.md` and `compare.html` into a folder and return their paths.

    Raises:
        RunError: one cannot be written.
    """
    document = comparison_document(comparison)
    written = {out / "compare.html": to_html(document), out / "compare.md": to_markdown(document)}
    for path, text in written.items():
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}.") from None
    return list(written)


def leak_inflation(runs: Sequence[ComparedRun]) -> Iterator[Block]:
    """Yield what a configuration loses when relatives of its validation images no longer stand in training.

    Wherever a configuration was run on the provided and on the grouped split of one dataset, the difference is what
    the provided split's leak adds to its metrics, as far as one can see through the noise between trainings.
    """
    rows, unequal = [], []
    for provided in (run for run in runs if run.method == "provided"):
        for grouped in (run for run in runs if run.method == "grouped"):
            if provided.content is None or provided.content != grouped.content:
                continue
            if provided.definitions != grouped.definitions:
                continue
            others = {(one.name if one.baseline else "", one.recipe_id): one for one in grouped.configurations}
            for one in provided.configurations:
                other = others.get((one.name if one.baseline else "", one.recipe_id))
                if other is None:
                    continue
                if provided.stage != grouped.stage:
                    unequal.append(f"{one.name}: {provided.label} and {grouped.label}")
                    continue
                rows.append([one.name, provided.label, grouped.label, *_inflated(one, other)])
    if rows:
        header = ["name", "provided", "grouped", "trainings", "Dice loss, provided", "grouped", "difference"]
        header += ["IoU, provided", "grouped", "difference", "test Dice loss, provided", "grouped", "difference"]
        yield table(header, rows, right=range(3, len(header)))
        yield paragraph(
            "The same configuration, seed apart, on the provided and on the grouped split of one dataset; means over "
            "its trainings, whose numbers on either split are given. A difference is grouped minus provided: where the "
            "Dice loss rises or the IoU falls, the provided split's value owes as much to slices of patients that the "
            "model has seen. The two splits hold other images, so a small difference may be chance."
        )
    if unequal:
        yield paragraph(
            "Not set against each other, since one is of the search and one of a final stage: "
            + "; ".join(unequal)
            + "."
        )


def _inflated(one: Configuration, other: Configuration) -> list[Any]:
    pairs = (one.dice_loss, other.dice_loss), (one.iou, other.iou), (_tested(one), _tested(other))
    cells: list[Any] = [f"{len(one.trials)} / {len(other.trials)}"]
    for provided, grouped in pairs:
        known = provided is not None and grouped is not None
        cells += [metric(provided), metric(grouped), gained(grouped - provided) if known else MISSING]  # type: ignore[operator]
    return cells


def _runs(runs: Sequence[ComparedRun]) -> Iterator[Block]:
    rows = [
        [
            run.label,
            str(run.run.get("profile", MISSING)),
            run.split,
            (run.fingerprint or MISSING)[:_HASH_SHOWN],
            run.stage,
            str(run.run.get("status", MISSING)),
            len(run.trials),
            len(run.configurations),
        ]
        for run in runs
    ]
    header = ["run", "profile", "split and its hash", "dataset fingerprint", "stage", "status", "trials"]
    yield table([*header, "configurations ranked"], rows, right=(6, 7))


def _refusals(comparison: RunComparison) -> Iterator[Block]:
    yield paragraph(
        "These runs were not measured alike, so a single ranking of them would mean nothing. Each group below is "
        "ranked by itself.",
        strong=True,
    )
    leaders = [group[0] for group in comparison.groups]
    yield Bullets(
        tuple(
            f"{_listed(comparison.groups[place])} and {_listed(comparison.groups[other])}: "
            f"{', '.join(differences(leaders[place], leaders[other]))}"
            for place in range(len(leaders))
            for other in range(place + 1, len(leaders))
        )
    )


def _ranking(group: Sequence[ComparedRun], runs: Sequence[ComparedRun]) -> Iterator[Block]:
    entries = [(one, run) for run in group for one in run.configurations]
    if not entries:
        yield paragraph("No trial has been trained to its full budget, so nothing is ranked.")
        return
    entries.sort(key=lambda pair: (*pair[0].sort_key, pair[0].name, pair[1].label))
    objective = group[0].objective
    all_names = [one.name for run in runs for one in run.configurations]
    varied = varied_fields([trial for one, _ in entries for trial in one.trials])
    rows = [
        [
            rank,
            one.name if all_names.count(one.name) == 1 else f"{one.name} ({run.label})",
            role_cell(one.best),
            run.label,
            *([] if objective.is_ranking_key else [metric(one.value)]),
            metric(one.dice_loss),
            metric(one.iou),
            metric(_tested(one)),
            len(one.trials),
            setting(one.best, "image_size"),
            setting(one.best, "epochs"),
            settings(one.best, varied),
        ]
        for rank, (one, run) in enumerate(entries, start=1)
    ]
    header = ["rank", "name", "role", "run", *own_header(objective), "validation Dice loss", "IoU", "test Dice loss"]
    header += ["trainings", "image size", "epochs", "settings"]
    notes = changed_notes(one.best for one, _ in entries)
    yield table(header, rows, right=(0, *range(4, len(header) - 1)), notes=notes)
    yield paragraph(
        f"By validation {order(objective)}, each training at its best epoch; means over the trainings of a "
        "configuration. Test metrics choose nothing."
    )
    if len({setting(one.best, "image_size") for one, _ in entries}) > 1:
        yield paragraph(
            "Image sizes differ: each configuration is measured at its own, against masks resized to it. Pooled Dice "
            "and IoU are ratios of areas, so the values keep their meaning, but not to the last digit."
        )
    if len({setting(one.best, "epochs") for one, _ in entries}) > 1:
        yield paragraph("Budgets differ: a configuration with more epochs had more chances of a good one.")


def _title(comparison: RunComparison, group: Sequence[ComparedRun]) -> str:
    return "Ranking" if comparison.ranked else f"Ranking of {_listed(group)}"


def _tested(one: Configuration) -> float | None:
    values = one.values("test_dice_loss")
    return statistics.fmean(values) if values else None


def _folds(run: ComparedRun) -> str:
    return plural(len(run.folds), "fold") if run.folds else "none"


def _listed(runs: Sequence[ComparedRun]) -> str:
    return ", ".join(shlex.quote(run.label) for run in runs)


def _text(content: Any) -> str | None:
    return content if isinstance(content, str) and content else None
