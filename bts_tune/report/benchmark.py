"""The report of a benchmark: what `results/benchmark/` decided, as a page, as Markdown and as two tables.

The report of each of its runs is in the run's own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bts_tune.config import TrialConfig
from bts_tune.errors import RunError
from bts_tune.report.blocks import Block, Bullets, Cell, CodeBlock, Document, Picture, TitledBlocks, paragraph, table
from bts_tune.report.cells import MAX_ROWS, more_rows
from bts_tune.report.definitions import definition
from bts_tune.report.figures.critical_difference import critical_difference_diagram
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.wording import MISSING, gained, metric
from bts_tune.results.benchmark.between_runs import BenchmarkReader, BenchmarkResult, Ranking, partial_sentence
from bts_tune.results.benchmark.within_run import BenchmarkRun, Entry, SplitResult
from bts_tune.results.ranking.settings import value
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.files import write_atomically
from bts_tune.results.statistics.intervals import Interval
from bts_tune.results.statistics.rank_tests import LEVEL, MIN_DATASETS
from bts_tune.results.warnings import identical_sentence, leak_sentence, left_out_sentence
from bts_tune.text import plural

_TITLES = {"test": "Test split", "valid": "Validation split"}
_MAX_SENTENCES = 12


@dataclass(frozen=True)
class BenchmarkReportFiles:
    """The files that `write_benchmark_report` wrote.

    Attributes:
        page, report: `report.html` and the same as `report.md`.
        table, pairs: `benchmark.csv` and `pairs.csv`.
        lacking: runs that are complete, but for trainings that did not come to their end.
        models_lacking: runs that are complete, but for models that are not there.
    """

    page: Path
    report: Path
    table: Path
    pairs: Path
    lacking: tuple[str, ...] = ()
    models_lacking: tuple[str, ...] = ()


def write_benchmark_report(folder: BenchmarkFolder, reader: BenchmarkReader | None = None) -> BenchmarkReportFiles:
    """Write `report.html`, `report.md`, `benchmark.csv`, `pairs.csv` and figures into the benchmark's folder.

    The same records give the same bytes.

    Raises:
        RunError: a record cannot be read, or a file not be written.
    """
    result = (reader or BenchmarkReader(folder)).read()
    document = benchmark_document(result)
    lacking = [run.name for run in result.runs if run.status == "complete" and run.lacking]
    page, report, of_all, of_pairs = (
        folder.path / name for name in ("report.html", "report.md", "benchmark.csv", "pairs.csv")
    )
    unmeasured = [run.name for run in result.runs if run.status == "complete" and run.models_lacking]
    files = BenchmarkReportFiles(page, report, of_all, of_pairs, tuple(lacking), tuple(unmeasured))
    written: dict[Path, str | bytes] = {folder.path / picture.path: picture.png for picture in document.pictures}
    written |= {
        files.page: to_html(document),
        files.report: to_markdown(document),
        files.table: benchmark_table(result).to_csv(index=False, lineterminator="\n"),
        files.pairs: pairs_table(result).to_csv(index=False, lineterminator="\n"),
    }
    for path, content in written.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}.") from None
    return files


def benchmark_table(result: BenchmarkResult) -> pd.DataFrame:
    """Return one row for each configuration, dataset, split method and split that it was measured on."""
    rows: list[dict[str, Any]] = []
    for run in result.runs:
        for measured_on, found in run.results.items():
            for one in found.entries:
                row = {
                    "configuration": one.name,
                    "dataset": run.dataset,
                    "split_method": _method(run),
                    "run": run.name,
                    "measured_on": measured_on,
                    "trainings": one.trainings,
                    "planned": run.planned.get(one.name),
                    "rank": one.rank,
                    "objective": run.objective.metric,
                    "value": one.value,
                }
                for name, limits in (("value", one.interval), ("dice_loss", one.dice_loss), ("iou", one.iou)):
                    row |= {} if name == "value" else {name: limits and limits.value}
                    row |= {f"{name}_low": limits and limits.low, f"{name}_high": limits and limits.high}
                rows.append(row | {"images": found.images, "tumours": found.tumours, "groups": found.groups})
    columns = [
        *(
            "configuration",
            "dataset",
            "split_method",
            "run",
            "measured_on",
            "trainings",
            "planned",
            "rank",
            "objective",
        ),
        *("value", "value_low", "value_high", "dice_loss", "dice_loss_low", "dice_loss_high", "iou", "iou_low"),
        *("iou_high", "images", "tumours", "groups"),
    ]
    whole = dict.fromkeys(("trainings", "planned", "images", "tumours", "groups"), "Int64")
    return pd.DataFrame(rows, columns=columns).astype(whole)


def pairs_table(result: BenchmarkResult) -> pd.DataFrame:
    """Return one row for each pair of configurations on one split of one run: `one` is the better."""
    rows = [
        [pair.one, pair.other, run.dataset, _method(run), run.name, measured_on, pair.gain, pair.p_value, pair.favours]
        for run in result.runs
        for measured_on, found in run.results.items()
        for pair in found.pairs
    ]
    columns = ["one", "other", "dataset", "split_method", "run", "measured_on", "gain", "p_holm", "favours"]
    return pd.DataFrame(rows, columns=columns).astype({"p_holm": "float64"})


def benchmark_document(result: BenchmarkResult) -> Document:
    """Return the report; the same records give the same one."""
    sections = [("Answer", _answer), ("Configurations", _configurations), ("Datasets", _datasets)]
    blocks = [TitledBlocks(title, tuple(make(result))) for title, make in sections]
    for split in ("test", "valid"):
        if any(split in run.results for run in result.runs):
            blocks.append(TitledBlocks(_TITLES[split], tuple(_measured(result, split))))
    blocks.append(TitledBlocks("Ranks across datasets", tuple(_ranks(result))))
    blocks.append(TitledBlocks("Change of dataset", tuple(_changes(result))))
    blocks.append(TitledBlocks("Pairs", tuple(_pairs(result))))
    blocks.append(TitledBlocks("How this was measured", tuple(_methods(result))))
    partial = partial_sentence(result)
    return Document(
        title=f"bts-tune: benchmark {result.record.get('benchmark', '')}",
        banners=(partial,) if partial else (),
        tags=("PARTIAL: the benchmark is not complete",) if partial else (),
        sections=tuple(one for one in blocks if one.blocks),
    )


def _answer(result: BenchmarkResult) -> Iterator[Block]:
    if description := str(result.record.get("description") or ""):
        yield paragraph(description)
    ranked = [ranking for ranking in result.rankings if ranking.names]
    for ranking in ranked:
        listed = ", ".join(f"{name} ({mean:.2f})" for name, mean in zip(ranking.names, ranking.mean_ranks, strict=True))
        sure = "" if ranking.test is None else f" {_sure(ranking)}"
        yield paragraph(f"Mean ranks over {_over(ranking)}, best first: {listed}.{sure}", strong=True)
    for sentence in dict.fromkeys(_sure(ranking) for ranking in ranked if ranking.test is None):
        yield paragraph(sentence)
    complete = [run for run in result.runs if run.status == "complete"]
    if complete:
        yield paragraph(f"On each dataset whose run is complete, {_TITLES[result.split].lower()}:")
        yield Bullets(tuple(f"{run.name}: {_outcome(result, run)}" for run in complete))
    else:
        yield paragraph("No run is complete yet, so that nothing is ranked.")


def _outcome(result: BenchmarkResult, run: BenchmarkRun) -> str:
    found = run.results.get(result.split)
    if found is None or not found.entries:
        words = "nothing is ranked."
    elif len(found.entries) == 1:
        words = f"nothing to compare {found.entries[0].name} with."
    else:
        words = _leader(result, found)
    lacking = [(name, run.lack(name, result.split)) for name in result.names]
    return " ".join([words, *(f"{name}: {clause}." for name, clause in lacking if clause)])


def _leader(result: BenchmarkResult, found: SplitResult) -> str:
    first = found.entries[0]
    open_: list[str] = []
    favoured: list[str] = []
    unknown: list[str] = []
    for other in found.entries[1:]:
        pair = found.pair(first.name, other.name)
        if pair is None or pair.p_value is None:
            unknown.append(other.name)
        elif not pair.sure:
            (favoured if pair.is_significant else open_).append(other.name)
    measured = f"{result.objective.title} {metric(first.value)}"
    equal = [one.name for one in found.entries if one.rank == first.rank]
    if len(equal) > 1:
        return f"{', '.join(equal[:-1])} and {equal[-1]} are first, and equal ({measured}); see Pairs."
    words = f"{first.name} is first ({measured})"
    others = len(found.entries) - 1
    if len(unknown) == others:
        return f"{words}; without scores of single images nothing says how sure that is."
    if not open_ and not favoured and not unknown:
        return f"{words}, and better than each of the others (Wilcoxon's test, Holm's correction)."
    sure = [one.name for one in found.entries[1:] if one.name not in (*open_, *favoured, *unknown)]
    told = [f"better than {', '.join(sure)}"] if sure and unknown else []
    told += [f"it cannot be told from {', '.join(open_)}"] if open_ else []
    told += [f"compared image by image, {', '.join(favoured)} {_is(favoured)} better"] if favoured else []
    told += [f"without scores of single images it is not compared with {', '.join(unknown)}"] if unknown else []
    return f"{words}; {'; '.join(told)} (Wilcoxon's test, Holm's correction)."


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _over(ranking: Ranking) -> str:
    split = "" if ranking.split is None else f", each split by '{ranking.split}'"
    return f"{plural(len(ranking.runs), 'dataset')}{split}"


def _sure(ranking: Ranking) -> str:
    if ranking.test is None:
        return (
            f"{plural(len(ranking.runs), 'dataset').capitalize()} {'is' if len(ranking.runs) == 1 else 'are'} too few "
            f"to tell whether the order would hold on another one: fewer than {MIN_DATASETS} cannot give a p value "
            f"below {LEVEL} even where one configuration is better on each of them."
        )
    critical = ranking.test.critical_difference
    if critical is None:
        return f"Friedman's test does not tell the configurations apart (p = {_p(ranking.test.p_value)})."
    return (
        f"Friedman's test tells some of them apart (p {_p_words(ranking.test.p_value)}); mean ranks that are more than "
        f"{critical:.2f} apart differ."
    )


def _configurations(result: BenchmarkResult) -> Iterator[Block]:
    chosen = result.record["configurations"]
    defaults = TrialConfig.model_fields
    for_all = result.record["definition"].get("set") or {}
    trained = {name: one["config"] | for_all for name, one in chosen.items()}
    rows = []
    for name, one in chosen.items():
        config = trained[name]
        fields = [field for field in config if len({repr(other.get(field)) for other in trained.values()}) > 1]
        own = ", ".join(f"{field} {value(config[field])}" for field in fields if field not in ("decoder", "encoder"))
        rows.append(
            [
                name,
                one["origin"],
                f"{config.get('decoder', MISSING)} / {config.get('encoder', MISSING)}",
                own,
                ", ".join(one["changed"]),
            ]
        )
    header = ["name", "from", "decoder / encoder", "where they differ", "changed there"]
    shown = [place for place in range(len(header)) if place < 3 or any(row[place] for row in rows)]
    yield table([header[place] for place in shown], [[row[place] for place in shown] for row in rows])
    if for_all:
        listed = ", ".join(f"{name} {value(content)}" for name, content in for_all.items())
        yield paragraph(f"Set for all of them: {listed}.")
    budgets = {config.get("epochs", defaults["epochs"].default) for config in trained.values()}
    if len(budgets) > 1:
        yield paragraph("Budgets differ: a configuration with more epochs had more chances of a good one.")
    for dataset, content in {run.dataset: run.content for run in result.runs if run.content is not None}.items():
        seen = [name for name, one in chosen.items() if one["chosen_on"] == content]
        if seen:
            yield paragraph(
                f"{', '.join(seen)}: chosen by an earlier run on the images of {dataset}. There its validation "
                "metrics are too good beside those of the others, which were chosen elsewhere; its test metrics are "
                "not, unless the test split was another one then."
            )


def _datasets(result: BenchmarkResult) -> Iterator[Block]:
    rows = []
    for run in result.runs:
        dataset = (run.run or {}).get("dataset") or {}
        images = dataset.get("splits") or {}
        groups = ((dataset.get("split") or {}).get("groups") or {}).get("count", MISSING)
        counts = " / ".join(str(images.get(split, 0)) for split in ("train", "valid", "test")) if images else MISSING
        trainings = f"{sum(run.trained.values())} of {sum(run.planned.values())}" if run.planned else MISSING
        rows.append([run.name, run.dataset, _method(run), counts, groups, trainings, run.status])
    yield table(["run", "dataset", "split", "train / valid / test", "groups", "trainings", "status"], rows, right=(4,))
    warnings = []
    for run in result.runs:
        found = _warnings(run.run) if run.run else []
        warnings += [f"{run.name}: {sentence}" for sentence in found if sentence]
        if run.lacking and run.status == "complete":
            warnings.append(
                f"{run.name}: not all trainings of {', '.join(run.lacking)} came to their end; see its report."
            )
        if run.models_lacking and run.status == "complete":
            warnings.append(
                f"{run.name}: the models of {', '.join(run.models_lacking)} are not there, or not what was saved."
            )
        warnings += [f"{run.name}: {sentence}" for sentence in run.missing[:_MAX_SENTENCES]]
        if len(run.missing) > _MAX_SENTENCES:
            more = len(run.missing) - _MAX_SENTENCES
            warnings.append(f"{run.name}: of {more} more, scores are missing or left out.")
    if warnings:
        yield Bullets(tuple(warnings))
    yield paragraph("The folder of each run has its own report.html: learning curves, predictions, kinds of images.")


def _measured(result: BenchmarkResult, split: str) -> Iterator[Block]:
    runs = [run for run in result.runs if split in run.results]
    objective = result.objective

    def in_each(of: Callable[[Entry], tuple[float | None, Interval | None]]) -> Block:
        rows: list[list[Any]] = []
        for name in result.names:
            entries = [run.results[split].entry(name) for run in runs]
            rows.append([name, *(MISSING if one is None else _with_interval(*of(one)) for one in entries)])
        header = ["configuration", *(run.name for run in runs)]
        return table(header, rows, right=range(1, len(header)))

    yield in_each(lambda one: (one.value, one.interval))
    what = (
        "Computed once for each training, at its best epoch; nothing was chosen by it."
        if split == "test"
        else "At the best epoch of each training, which was chosen by this very value: all are a little too good."
    )
    yield paragraph(
        f"{objective.title}, {objective.better} is better, and its 95 % interval; means over the "
        f"trainings of a configuration. {what} An interval holds the chance of other images, of groups where they are "
        "known, and of other seeds where there are several. Values of different datasets are not to be compared."
    )
    if objective.metric != "iou" and any(one.iou for run in runs for one in run.results[split].entries):
        yield paragraph("IoU of the same trainings, higher is better; no rank is by it:")
        yield in_each(lambda one: (None if one.iou is None else one.iou.value, one.iou))


def _with_interval(number: float | None, limits: Interval | None) -> Cell | str:
    if number is None:
        return MISSING
    known = limits is not None and limits.low is not None and limits.high is not None
    between = f" ({metric(limits.low)} to {metric(limits.high)})" if known and limits else ""
    return Cell(f"{metric(number)}{between}", number)


def _pairs(result: BenchmarkResult) -> Iterator[Block]:
    listed = [
        (run, found, pair)
        for run in result.runs
        if (found := run.results.get(result.split)) is not None
        for pair in found.pairs
    ]
    if not listed:
        return
    rows = [
        [
            run.name,
            pair.one,
            pair.other,
            gained(pair.gain),
            MISSING if pair.p_value is None else _p(pair.p_value),
            MISSING if pair.favours is None else pair.favours,
            _on(found),
        ]
        for run, found, pair in listed[:MAX_ROWS]
    ]
    header = ["run", "better", "than", f"{result.objective.title}, by", "p (Holm)", "test favours", "over"]
    yield table(header, rows, right=(3, 4))
    yield from more_rows(listed, "pair", "pairs.csv")
    yield paragraph(
        f"{_TITLES[result.split]}. Wilcoxon's signed-rank test on the Dice of each image that holds a tumour, mean "
        "over trainings; on the means of groups where these are known. Holm's correction is for all pairs of a run. "
        "It may favour the other one, which is then better on more images and by less. The test takes the trainings as "
        "they are: that others would come out differently is in the intervals alone."
    )


def _ranks(result: BenchmarkResult) -> Iterator[Block]:
    for number, ranking in enumerate(result.rankings, start=1):
        if ranking.names:
            where = "" if ranking.split is None else f" ({ranking.split})"
            runs = [run.name for run in ranking.runs]
            rows = [
                [name, f"{mean:.2f}", *(_rank_of(result, run, name) for run in ranking.runs)]
                for name, mean in zip(ranking.names, ranking.mean_ranks, strict=True)
            ]
            yield table([f"configuration{where}", "mean rank", *runs], rows, right=range(1, 2 + len(runs)))
            yield paragraph(_sure(ranking))
            critical = None if ranking.test is None else ranking.test.critical_difference
            if critical is not None:
                yield Picture(
                    description=f"Critical-difference diagram of the mean ranks over {_over(ranking)}; bars join "
                    f"configurations that are less than {critical:.2f} apart",
                    path=f"figures/critical-difference-{number}.png",
                    png=critical_difference_diagram(ranking.names, ranking.mean_ranks, critical),
                )
        if ranking.left_out:
            yield Bullets(ranking.left_out)


def _changes(result: BenchmarkResult) -> Iterator[Block]:
    changes = result.changes
    if not changes:
        return
    rows = [
        [
            change.one.name,
            change.other.name,
            MISSING if change.tau is None else f"{change.tau:.2f}".replace("-", "−"),
            _turned(change.turned),
            _turned(change.sure),
        ]
        for change in changes[:MAX_ROWS]
    ]
    header = ["from", "to", "Kendall's tau", "change places", "and both are sure of it"]
    yield table(header, rows, right=(2,))
    yield paragraph(
        f"What another dataset, or another split of one, does to the order on the {_TITLES[result.split].lower()}. Tau "
        "is 1 where the order stays and −1 where it is turned round. In the last column are pairs of which each of the "
        "two runs is sure (p below 0.05, in favour of the one that is better there): that they change places is no "
        "chance of the images."
    )


def _methods(result: BenchmarkResult) -> Iterator[Block]:
    names = dict.fromkeys((result.objective.metric, "dice_loss"))
    run = next((run.run for run in result.runs if run.run is not None), None)
    yield table(["metric", "definition"], [[name, definition(f"val_{name}", run)] for name in names])
    yield paragraph(
        "Each dataset and split is one ordinary run, in which every configuration is trained to its full budget with "
        "the same seeds, and measured on the same images. Ranks are taken within a run, equals share the mean of "
        "theirs, and only runs that were measured alike are ranked together. Friedman's test is by permutation of the "
        "ranks within datasets, which holds for few of them. Nemenyi's critical difference is as in Demšar (JMLR "
        f"2006), and is given where the p value of that test is below {LEVEL}. Both are for {MIN_DATASETS} datasets or "
        "more, split alike, whose images differ."
    )
    yield paragraph("Go on with it, or make this report anew:")
    yield CodeBlock(result.command, "sh")


def _warnings(run: Mapping[str, Any]) -> list[str | None]:
    cure = "Name 'grouped' among the 'splits' of a benchmark's file"
    return [left_out_sentence(run), identical_sentence(run), leak_sentence(run, cure)]


def _rank_of(result: BenchmarkResult, run: BenchmarkRun, name: str) -> str:
    entry = run.results[result.split].entry(name)
    return MISSING if entry is None else f"{entry.rank:g}"


def _turned(pairs: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{one}, {other}" for one, other in pairs) or MISSING


def _method(run: BenchmarkRun) -> str:
    recorded = (((run.run or {}).get("dataset") or {}).get("split") or {}).get("method")
    return str(recorded or run.split or MISSING)


def _on(found: SplitResult) -> str:
    if found.tumours is None:
        return MISSING
    images = f"{plural(found.tumours, 'image')} with a tumour"
    return images if found.tumour_groups is None else f"{images}, in {plural(found.tumour_groups, 'group')}"


def _p(p_value: float) -> str:
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _p_words(p_value: float) -> str:
    return _p(p_value) if p_value < 0.0001 else f"= {_p(p_value)}"
