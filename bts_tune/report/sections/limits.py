"""The section on the limits: what the report cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.ranking.configurations import configurations, result_stage
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.warnings import is_demo
from bts_tune.text import plural


@SECTIONS.register("limits")
class Limits(Section):
    """What the report cannot show."""

    title = "Limits"
    after = "methods"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield one paragraph."""
        yield paragraph(limits(context.run, context.trials))


def limits(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> str:
    """Return one paragraph on what the metrics cannot show."""
    ranked = configurations(trials)
    final = result_stage(trials) == "final"
    repeated = sum(one.seeds > 1 for one in ranked)
    twice = sum(one.seeds == 2 for one in ranked)
    if repeated == len(ranked) and ranked:
        noise = "Every ranked configuration ran with more than one seed; a difference within their spread is noise."
    elif repeated:
        noise = (
            f"{repeated} of the {len(ranked)} ranked configurations ran with more than one seed, and a difference "
            "within the spread of the seeds is noise; the others ran with a single seed, and their spread is not known."
        )
    elif ranked:
        noise = (
            "Every ranked configuration ran with a single seed, so a small difference may be no more than the noise "
            "between seeds."
        )
    else:
        noise = "Nothing is ranked yet, so there is no difference to tell from the noise between seeds."
    if final:
        chosen = (
            "The configurations of the final stage were chosen on the validation images that it is ranked on, though "
            "by other trainings, and each training's best epoch on the same images: validation metrics are a little "
            "optimistic, those of the test split are not. Of several configurations that are about equally good, luck "
            "decides which is first; no interval of a single configuration shows that."
        )
    else:
        chosen = (
            "The best epoch of each trial, and the best trial, were chosen on the very validation images that the "
            "metrics are computed on, which makes them optimistic, the more so the more trials were compared; the test "
            "split's metrics do not have this fault. No final stage has trained the best configuration and the "
            "baselines again with fresh seeds, which would show how much of a lead is luck."
        )
    if twice:
        noise += (
            f" Of {plural(twice, 'configuration')} there are two seeds: two values, no more than a range, and no "
            "measure of how seeds spread."
        )
    sentences = [
        noise,
        chosen,
        "The intervals tell how much other images of the same kind could change the numbers and, where a configuration "
        "was trained more than once, other seeds. They are too narrow for new patients where images of one patient "
        "resemble each other and no group says so, and say nothing about another scanner or clinic.",
        "The split may leak: where neighbouring slices of one patient lie in different splits, and the dataset names "
        "no patients, every metric, the test split's included, says more about patients that the model has seen than "
        "about new ones.",
        "Annotations that are rectangles rather than outlines bound what any metric can mean.",
    ]
    if len({setting(one.best, "image_size") for one in ranked}) > 1:
        sentences.append(
            "The ranked trials have different image sizes, and each is measured at its own, against masks resized to "
            "it."
        )
    if len({setting(one.best, "epochs") for one in ranked}) > 1:
        sentences.append("The ranked trials have different numbers of epochs in their budget.")
    if is_demo(run):
        sentences.insert(0, "This is a demo on generated phantoms: nothing here says anything about real images.")
    return " ".join(sentences)
