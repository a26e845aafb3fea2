"""What a run would do and what it would cost, in words: `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from bts_tune.space import Final, ResolvedSpace
from bts_tune.space.text import range_text
from bts_tune.text import plural


def cost(space: ResolvedSpace) -> tuple[int, int]:
    """Return the number of trials, and the most epochs that they can take (early stopping saves some of them)."""
    epochs = [named.config.epochs for named in space.named]
    if space.search is not None:
        epochs += [space.search.epochs] * space.search.num_trials
    if space.final is not None:
        baselines, others = _final_epochs(space, space.final)
        epochs += [*baselines, *others] * space.final.seeds
    return len(epochs), sum(epochs)


def _final_epochs(space: ResolvedSpace, final: Final) -> tuple[list[int], list[int]]:
    """Return the epochs of one seed of each baseline, and of each other configuration that can be chosen."""
    budgets = {named.name: named.config.epochs for named in space.named}
    baselines = {named.name for named in space.named if named.baseline}
    others = [budget for name, budget in budgets.items() if name not in baselines]
    if space.search is not None:
        others += [space.search.epochs] * space.search.num_trials
    return [budgets[name] for name in budgets if name in baselines], sorted(others, reverse=True)[: final.top]


def preview(space: ResolvedSpace, train_images: Sequence[int]) -> str:
    """Return the named trials, the search, the final stage and the cost, as lines.

    Args:
        space: the trials.
        train_images: training images of each fold; of the one split where there are no folds.
    """
    lines = []
    width = max((len(named.trial) for named in space.named), default=0)
    for named in space.named:
        config = named.config
        changed = f"  changed: {', '.join(named.changed)}" if named.changed else ""
        lines.append(
            f"  {named.trial:<{width}}  {config.decoder} on {config.encoder}, freeze {config.freeze}, "
            f"lr {config.learning_rate:g}, {config.epochs} epochs at {config.image_size} px{changed}"
        )
    if lines:
        lines.insert(0, f"{len(space.named)} named trial{'s' if len(space.named) != 1 else ''}, to the full budget:")
    search = space.search
    if search is not None:
        lines.append(
            f"{plural(search.num_trials, 'searched trial')} of at most {search.epochs} epochs, stopped early "
            f"from epoch {search.grace_period} on:"
        )
        for name, parameter in search.parameters.items():
            lines.append(f"  {name}: {range_text(parameter)}")
    if space.final is not None:
        baselines, others = _final_epochs(space, space.final)
        what = " and ".join(
            plural(len(some), noun) for some, noun in ((others, "best configuration"), (baselines, "baseline")) if some
        )
        seeds = plural(space.final.seeds, "fresh seed")
        again = (len(baselines) + len(others)) * space.final.seeds
        lines.append(f"Final stage, to the full budget: {what}, {seeds} each: {plural(again, 'trial')}")
    trials, epochs = cost(space)
    folds = len(train_images)
    if folds > 1:
        lines.append(f"Each of them on {folds} folds.")
    sizes = sorted({*train_images})
    images = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    most = "at most " if search is not None else ""
    lines.append(
        f"Cost: {plural(trials * folds, 'trial')}, {most}{epochs * folds} epochs of {images} training images, "
        f"{most}{epochs * sum(train_images)} images in all."
    )
    return "\n".join(lines)
