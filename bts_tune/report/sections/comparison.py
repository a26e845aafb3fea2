"""The section that compares the configurations image by image, each with the best baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bts_tune.report.blocks import Block, Subheading, paragraph, table
from bts_tune.report.cells import changed_notes, has_intervals, no_interval_notes, role_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, gained, interval, share
from bts_tune.results.ranking.configurations import configurations, result_stage
from bts_tune.results.statistics.comparison import SplitComparison
from bts_tune.text import plural

_TITLES: Mapping[str, str] = {"test": "Test split", "valid": "Validation split"}
_MAX_MISSING = 12


@SECTIONS.register("comparison")
class ComparisonSection(Section):
    """The configurations, compared on the same images."""

    title = "Comparison"
    after = "ranking"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the paired comparison of the configurations with the best baseline, split by split."""
        if not configurations(context.trials):
            return
        if context.comparison.failed:
            yield paragraph(context.comparison.failed)
            return
        if not context.comparison.scores:
            yield paragraph("No scores of single images are on record, so there are no intervals and no comparisons.")
            return
        shown = [
            (title, context.comparison.splits[name])
            for name, title in _TITLES.items()
            if name in context.comparison.splits
        ]
        if shown and len(shown[0][1].configurations) > 1:
            compared = shown[0][1]
            who = (
                "The configurations of the final stage"
                if result_stage(context.trials) == "final"
                else "The best and the baselines"
            )
            with_intervals = [one for _, one in shown if has_intervals(one)]
            chances = (
                f" Where the interval includes zero, the difference may be chance. {_chances(with_intervals[0])}"
                if with_intervals
                else ""
            )
            yield paragraph(
                f"{who} on the same images. 'Gained' is by how much each is better than {_reference(compared)}."
                f"{chances}{_first(compared)}"
            )
            for title, compared in shown:
                groups = f" in {plural(compared.groups, 'group')}" if compared.groups else ""
                tumours = f"{plural(compared.images, 'image')}{groups}, {compared.tumours} with a tumour"
                yield Subheading(f"{title} ({tumours})")
                repeated = set(compared.replicates) != {1}
                header = ["name", "role", *(["trainings"] if repeated else [])]
                if not compared.objective.is_ranking_key:
                    header += [f"{compared.objective.title} gained", "95 % interval"]
                header += ["Dice gained", "95 % interval", "IoU gained", "95 % interval", "p (Holm)", "first"]
                rows = [_row(compared, place, repeated) for place in range(len(compared.configurations))]
                notes = [*no_interval_notes(compared), *changed_notes(compared.configurations)]
                yield table(header, rows, right=range(2, len(header)), notes=notes)
        yield from (paragraph(sentence) for sentence in context.comparison.missing[:_MAX_MISSING])
        if len(context.comparison.missing) > _MAX_MISSING:
            yield paragraph(
                f"Of {len(context.comparison.missing) - _MAX_MISSING} more, scores are missing or left out."
            )


def _reference(compared: SplitComparison) -> str:
    one = compared.configurations[compared.reference]
    return f"the best {'baseline' if one.baseline else 'configuration'} that has scores, {one.name}"


def _first(compared: SplitComparison) -> str:
    """Return a sentence on what 'first' is by, where it is not by what ranks the configurations."""
    objective = compared.configurations[0].objective
    if compared.objective == objective:
        return ""
    return (
        f" The {objective.title} cannot be computed from the scores of single images, so 'first' is by "
        f"{compared.objective.title}."
    )


def _chances(compared: SplitComparison) -> str:
    images = "groups of related images" if compared.groups else "images"
    fewest = min(compared.replicates)
    two = (
        " An interval from two trainings is wide, and rests on the assumption that trainings are normally distributed."
        if 2 in compared.replicates
        else ""
    )
    if fewest > 1:
        return f"The intervals tell how much other {images} and other seeds could change the numbers.{two}"
    if max(compared.replicates) > 1:
        return (
            f"The intervals tell how much other {images} could change the numbers, and other seeds where a "
            "configuration has more than one training. With a single training, an interval is too narrow."
            f"{two}"
        )
    return (
        f"The intervals tell how much other {images} could change the numbers. They know nothing of other seeds, as "
        "each configuration ran with one."
    )


def _row(compared: SplitComparison, place: int, repeated: bool) -> list[str]:
    one, found = compared.configurations[place], compared.resampled
    first = MISSING if found.first is None else share(found.first[place])
    cells = [one.name, role_cell(one), *([str(compared.replicates[place])] if repeated else [])]
    gains = [found.dice_gain[place], found.iou_gain[place]]
    if not compared.objective.is_ranking_key:
        gains.insert(0, found.gain[place])
    if place == compared.reference:
        return [*cells, "reference", *[MISSING] * (2 * len(gains)), first]
    p_value = compared.p_values[place]
    return [
        *cells,
        *(text for gain in gains for text in (gained(gain.value), interval(gain, signed=True))),
        MISSING if p_value is None else "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}",
        first,
    ]
