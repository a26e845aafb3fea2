"""The sections that show a figure and say how to read it: learning curves, the course of the search, predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bts_tune.report.blocks import Block, Subheading, paragraph
from bts_tune.report.context import Page, picture
from bts_tune.report.failures import Failed
from bts_tune.report.figures.search_history import device_time
from bts_tune.results.leaderboard import ranking
from bts_tune.results.naming import with_role


def curves(page: Page) -> Iterable[Block]:
    """Yield the learning curves."""
    if page.figures.curves is None:
        yield paragraph("No trial has finished an epoch, so there are no curves.")
        return
    yield picture("Learning curves of the leading trials", page.figures.curves)
    yield paragraph(
        "Left: the figure that ranks the trials. Right: how far it lies above the Dice loss of the training batches of "
        "the same epoch. Training batches are augmented and dropout is on, so the gap can be negative; where it grows "
        "while the validation loss stops falling, the model overfits."
    )


def history(page: Page) -> Iterable[Block]:
    """Yield the course of the search: the lowest loss so far."""
    if page.figures.history is None:
        return
    yield picture("The lowest validation Dice loss so far", page.figures.history)
    yield paragraph(
        "The line is the lowest validation Dice loss of the full-budget trials that had ended by then; left against "
        "the trials in the order in which they ended, right against device time: the seconds of all trials together, "
        f"whatever ran side by side, {_DEVICE_TIME[device_time(page.trials, 1.0)[0]]}."
    )


_DEVICE_TIME: Mapping[str, str] = {
    "GPU": "times the GPUs that each takes",
    "CPU-trial": "each on its share of the CPU's cores",
    "Trial": "not weighed by device",
}


def predictions(page: Page) -> Iterable[Block]:
    """Yield predicted slices of the best trial and of every baseline."""
    if isinstance(page.figures.overlays, Failed):
        yield paragraph(page.figures.overlays.sentence)
        return
    if not page.figures.overlays:
        yield paragraph("No trial has been trained to its full budget, so no predictions are shown.")
        return
    best = ranking(page.trials)[:1]
    if any(overlay.file for overlay in page.figures.overlays):
        yield paragraph(
            "Validation slices, with the weights of the best epoch: the best, the median and the worst of the tumours "
            "of which something was found, by IoU; missed ones, of which no pixel was, the largest first; and false "
            "alarms, whose predicted regions hold no true pixel. Where a kind is not there, the model has none on this "
            "split. The rarer kinds are looked for, so that this gallery says what happens and not how often."
        )
    for overlay in page.figures.overlays:
        record = overlay.trial
        title = with_role(page.called[record.trial], record)
        title = f"Best trial: {title}" if record in best else title
        yield Subheading(title)
        if overlay.file is None:
            yield paragraph(f"The figure is left out: {overlay.missing}")
        else:
            yield picture(f"Validation slices, {title}", overlay.file, photo=True)
