"""The section on the methods: what the metrics mean, and what they were made from."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from bts_tune.report.blocks import Block, Bullets, CodeBlock, Details, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.definitions import DEFINITION_HEADER, metric_definitions
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING
from bts_tune.results.fidelity import fidelity_sentence
from bts_tune.results.ranking.settings import setting, value
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.intervals import LEVEL, RESAMPLES, SEED
from bts_tune.results.warnings import is_demo

_STATISTICS = (
    "A configuration is everything a training depends on but its seed. Where several seeds repeat one, or several "
    "folds, its value is the mean over those trainings, and the spread is their sample standard deviation. "
    "Two trainings are two values, no more than a range: both are shown, and no deviation.",
    "Where a final stage was run, only that is ranked: configurations chosen by the search, and all baselines, trained "
    "again to the full budget with the same fresh seeds for each.",
    f"Intervals: {LEVEL:.0%}, of the expected value of a new training on new images. Images: bias-corrected and "
    f"accelerated bootstrap (Efron 1987; scipy.stats.bootstrap), {RESAMPLES} draws with replacement, seed {SEED}; the "
    "metric is pooled over each draw and averaged over the trainings. Where groups of related slices are on record "
    "(split.csv), whole groups are drawn. Where a value never changes over the draws, the percentiles take its place. "
    "Seeds: the variance of the mean over trainings is added to that of the draws; the limits are moved out by the "
    "root of the ratio and by Student's t in place of the normal quantile, with the degrees of freedom of the sum "
    "(Satterthwaite 1946), on the logit scale of what the value can be (0 to 1, a difference -1 to 1), which no limit "
    "leaves (DiCiccio and Efron 1996; Brown, Cai and DasGupta 2001). With one training the interval is of images "
    "alone; with two it rests on the assumption that trainings are normally distributed, and is wide.",
    "Folds: on the validation split the metric of a seed is pooled within each fold and averaged over the folds, which "
    "together hold every image once; on the test split every fold's training counts as one.",
    "Difference: the metric of two configurations on the same draws, paired by seed. Dice gained is the Dice loss of "
    "the best baseline minus the configuration's, so that positive is better. The best baseline is that of the "
    "validation split.",
    "First: the share of the draws, each with the means over seeds moved by Student's t with their standard error, in "
    "which the configuration is the best of those compared by the objective, which is the Dice loss unless the space "
    "names another metric; equals share a draw.",
    "p: Wilcoxon's signed-rank test, two-sided, on the Dice at the threshold of each image that holds a tumour, mean "
    "over trainings (of each group, the mean difference of its images), zero differences as Pratt (1959) treats them; "
    "corrected for the number of comparisons of the table as Holm (1979). It knows nothing of the seeds' spread.",
    "Optimism of the search: by how much the final stage's mean of the objective, on the validation split, is worse "
    "than that of the search's trial of the same configuration.",
    "An image is missed where it holds a tumour and not one pixel of it is predicted; brightness and contrast are the "
    "mean and the standard deviation of the grey values that the network is given, before standardising, in 0..1.",
)

_MAX_LISTED = 12


@SECTIONS.register("methods")
class Methods(Section):
    """How the run was made and measured."""

    title = "Methods"
    after = "changes"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield metrics, statistics, dataset, space, versions, hardware and the command line."""
        run = context.run
        yield from (Subheading("Metrics"), *_metrics(run, context.trials), Subheading("Statistics"))
        lower = fidelity_sentence(context.trials)
        yield Bullets((*_STATISTICS, *([lower] if lower else [])))
        yield Details("Dataset", (_facts(_dataset(run)),))
        yield Details("Search space", tuple(_space(run)))
        yield Details("The run", (_facts(_run(run, context.trials)),))
        command = run.get("command")
        if command:
            yield paragraph("Command line:")
            yield CodeBlock(shlex.join(str(word) for word in command), "sh")


def _metrics(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[Block]:
    text = (
        "Computed over the whole split at the trial's image size from sums per image, so none depends on the "
        "batch size. p is the sigmoid output, y the truth; the threshold is 0.5 where one is needed."
    )
    return [paragraph(text), table(DEFINITION_HEADER, metric_definitions(run, trials))]


def _dataset(run: Mapping[str, Any]) -> Mapping[str, Any]:
    dataset = run.get("dataset")
    if not isinstance(dataset, Mapping):
        return {}
    return {"kind": "generated phantoms (demo)", **dataset} if is_demo(run) else dataset


def _space(run: Mapping[str, Any]) -> Iterator[Block]:
    space = run.get("space")
    if not isinstance(space, Mapping) or not space:
        yield paragraph("Not recorded.")
        return
    yield from _paragraphs(str(space.get("description", "")))
    notes = _notes(space)
    if notes:
        yield paragraph("Notes of the space:")
        yield Bullets(notes)
    shown = {key: content for key, content in space.items() if key != "description"}
    yield CodeBlock(yaml.safe_dump(_settings(shown), sort_keys=False, allow_unicode=True, width=110), "yaml")


def _notes(space: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the notes of a recorded space and of its trials, these led by the trial's name; nothing else is a note."""
    trials = space.get("trials")
    owners = [("", space), *(trials.items() if isinstance(trials, Mapping) else ())]
    return tuple(
        f"{name}: {note.strip()}" if name else note.strip()
        for name, owner in owners
        if isinstance(owner, Mapping) and isinstance(owner.get("notes"), list)
        for note in owner["notes"]
        if isinstance(note, str)
    )


def _settings(content: Any) -> Any:
    """Leave out what stands elsewhere: the notes, and what was published, which has a section that explains it."""
    if isinstance(content, Mapping):
        return {key: _settings(inner) for key, inner in content.items() if key not in ("notes", "published")}
    if isinstance(content, list):
        return [_settings(inner) for inner in content]
    return content.strip() if isinstance(content, str) else content


def _paragraphs(text: str) -> Iterator[Block]:
    """Yield the paragraphs and lists of a description."""
    lines = [line.strip() for line in text.split("\n")]
    for listed, group in itertools.groupby(filter(None, lines), key=lambda line: line.startswith("- ")):
        if listed:
            yield Bullets(tuple(line[2:] for line in group))
        else:
            yield from map(paragraph, group)


def _run(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> dict[str, Any]:
    shown: dict[str, Any] = {key: run.get(key) for key in ("created", "ended", "status", "device", "seeds", "options")}
    if warm := run.get("warm_start"):
        shown["trials that the search knew from the start"] = f"{len(warm['trials'])} of {warm['run']}"
    for stage in ("search", "final"):
        found = sorted({setting(record, "seed") for record in trials if record.stage == stage})
        if found:
            shown[f"seeds of the {stage} stage"] = found
    for key in ("precision", "torch_threads", "augmented", "steps"):
        found = sorted({str(record.started[key]) for record in trials if record.started.get(key) is not None})
        if found:
            shown[key] = found
    if retried := [f"{record.trial}: {reason}" for record in trials for reason in record.retries]:
        shown["attempts that failed, each followed by another from the last checkpoint"] = retried
    return {**shown, "hardware": run.get("hardware"), "versions": run.get("versions")}


def _facts(content: Mapping[str, Any]) -> Block:
    rows = [(key, text) for key, text in _flat(content) if text]
    return table(["what", "value"], rows) if rows else paragraph("Not recorded.")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of nested mappings with its dotted name; long lists and many counts are cut short."""
    for key, inner in content.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping) and len(inner) > _MAX_LISTED and all(type(one) is int for one in inner.values()):
            # Such as how many images have each of a hundred sizes.
            common = sorted(inner.items(), key=lambda item: -item[1])[:_MAX_LISTED]
            yield name, f"{', '.join(f'{what}: {count}' for what, count in common)}, … ({len(inner)} in all)"
        elif isinstance(inner, Mapping):
            yield from _flat(inner, f"{name}.")
        elif isinstance(inner, list | tuple):
            text = ", ".join(_leaf(item) for item in inner[:_MAX_LISTED])
            more = f", … ({len(inner)} in all)" if len(inner) > _MAX_LISTED else ""
            yield name, (text or "none") + more
        else:
            yield name, _leaf(inner)


def _leaf(content: Any) -> str:
    if content is None:
        return MISSING
    if isinstance(content, bool):
        return "yes" if content else "no"
    if isinstance(content, Mapping):
        return " ".join(f"{key} {_leaf(inner)}" for key, inner in content.items())
    return value(content)
