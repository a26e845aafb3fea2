"""What a run would do and what it would cost, in words: `--dry-run`."""

from __future__ import annotations

from bts_tune.space import ResolvedSpace
from bts_tune.space_text import range_text


def cost(space: ResolvedSpace) -> tuple[int, int]:
    """Return the number of trials, and the most epochs that they can take (early stopping saves some of them)."""
    epochs = [named.config.epochs for named in space.named]
    if space.search is not None:
        epochs += [space.search.epochs] * space.search.num_trials
    return len(epochs), sum(epochs)


def preview(space: ResolvedSpace, train_images: int) -> str:
    """Return the named trials, the search and the cost, as lines."""
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
            f"{search.num_trials} searched trials of at most {search.epochs} epochs, {search.startup_trials} of them "
            f"at random, stopped early from epoch {search.grace_period} on (1 in {search.reduction_factor:g} goes on):"
        )
        for name, parameter in search.parameters.items():
            lines.append(f"  {name}: {range_text(parameter)}")
    trials, epochs = cost(space)
    most = "at most " if search is not None else ""
    lines.append(
        f"Cost: {trials} trials, {most}{epochs} epochs of {train_images} training images, "
        f"{most}{epochs * train_images} images in all."
    )
    return "\n".join(lines)
