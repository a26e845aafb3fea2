"""What a run would do and what it would cost, in words and for programs: `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.data.training_share import Counted, images_of_share
from bts_tune.experiment.planning.duration import Duration
from bts_tune.space import Final, ResolvedSpace
from bts_tune.space.text import range_text
from bts_tune.text import plural

_NOT_COUNTED: Counted = {}


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        name: the search space's name.
        space: its trials.
        train_images: training images of each fold; of the one split where there are no folds.
        duration: how long it takes on this machine; None where nothing is known of its speed.
        downloads: encoders whose weights a run downloads first.
        lacking: a sentence, where this machine lacks what is asked for and would refuse the run.
        counted: training images of each share of them.
    """

    name: str
    space: ResolvedSpace
    train_images: Sequence[int]
    duration: Duration | None = None
    downloads: Sequence[str] = ()
    lacking: str = ""
    counted: Counted = field(default_factory=dict)

    def text(self) -> str:
        """Return it in words."""
        lines = [
            f"Dry run of space {self.name!r}; nothing is trained.",
            preview(self.space, self.train_images, self.counted),
        ]
        if self.downloads:
            lines.append(
                f"Weights that a run downloads first: of {', '.join(self.downloads)}. Without internet, put them into "
                "a folder and give it as --weights-dir DIR."
            )
        if self.lacking:
            lines.append(f"Not on this machine: {self.lacking}")
        if self.duration is not None:
            lines.append(f"Time on this machine: {self.duration.text()}, {self.duration.how}.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it in the types of JSON."""
        trials, epochs = cost(self.space)
        search, folds = self.space.search, len(self.train_images)
        return {
            "space": self.name,
            "trials": [
                {
                    "trial": named.trial,
                    "name": named.name,
                    "baseline": named.baseline,
                    "changed": list(named.changed),
                    "config": named.config.to_dict(),
                }
                for named in self.space.named
            ],
            "search": None
            if search is None
            else {
                "num_trials": search.num_trials,
                "epochs": search.epochs,
                "grace_period": search.grace_period,
                "fidelity": {name: search.fields[name] for name in search.full},
                "parameters": {
                    name: parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True)
                    for name, parameter in search.parameters.items()
                },
            },
            "final": None
            if self.space.final is None
            else {"top": self.space.final.top, "seeds": self.space.final.seeds},
            "folds": folds if folds > 1 else None,
            "train_images": list(self.train_images),
            "downloads": list(self.downloads),
            "lacking": self.lacking or None,
            "cost": {
                "trials": trials * folds,
                "epochs_at_most": epochs * folds,
                "images_at_most": images(self.space, self.train_images, self.counted),
                "seconds": None if self.duration is None else round(self.duration.seconds, 1),
                "models": None if self.duration is None else self.duration.models[0],
                "models_timed": None if self.duration is None else self.duration.models[1],
            },
        }


def cost(space: ResolvedSpace) -> tuple[int, int]:
    """Return the number of trials, and the most epochs that they can take (early stopping saves some of them)."""
    trainings = _trainings(space)
    return len(trainings), sum(epochs for epochs, _ in trainings)


def images(space: ResolvedSpace, train_images: Sequence[int], counted: Counted = _NOT_COUNTED) -> int:
    """Return the most images that all trainings can take together, an image counted in each epoch.

    Args:
        space: the trials.
        train_images: training images of each fold; of the one split where there are no folds.
        counted: those of each share of them.
    """
    return sum(epochs * sum(images_of_share(train_images, share, counted)) for epochs, share in _trainings(space))


_Training = tuple[int, float]
"""The epochs of a training, and the share of the training images that each is of."""


def _trainings(space: ResolvedSpace) -> list[_Training]:
    found = [_of_fields(named.config.to_dict()) for named in space.named]
    if space.search is not None:
        found += [_of_fields(space.search.fields)] * space.search.num_trials
    if space.final is not None:
        baselines, others = _final_trainings(space, space.final)
        found += [*baselines, *others] * space.final.seeds
    return found


def _of_fields(fields: Mapping[str, Any]) -> _Training:
    return int(fields["epochs"]), float(fields["train_share"])


def _final_trainings(space: ResolvedSpace, final: Final) -> tuple[list[_Training], list[_Training]]:
    """Return one seed of each baseline, and of each other configuration that can be chosen, the longest ones."""
    named = {one.name: _of_fields(one.in_full.to_dict()) for one in space.named}
    baselines = {one.name for one in space.named if one.baseline}
    others = [training for name, training in named.items() if name not in baselines]
    if space.search is not None:
        others += [_of_fields(space.search.in_full.fields)] * space.search.num_trials
    return [named[name] for name in named if name in baselines], sorted(others, reverse=True)[: final.top]


def preview(space: ResolvedSpace, train_images: Sequence[int], counted: Counted = _NOT_COUNTED) -> str:
    """Return the named trials, the search, the final stage and the cost, as lines.

    Args:
        space: the trials.
        train_images: training images of each fold; of the one split where there are no folds.
        counted: those of each share of them.
    """
    lines = []
    width = max((len(named.trial) for named in space.named), default=0)
    for named in space.named:
        config = named.config
        changed = f"  changed: {', '.join(named.changed)}" if named.changed else ""
        lines.append(
            f"  {named.trial:<{width}}  {config.decoder} on {config.encoder}, freeze {config.freeze}, "
            f"lr {config.learning_rate:g}, {config.epochs} epochs at {config.image_size} px{_share(config)}{changed}"
        )
    search = space.search
    if lines:
        to_the_end = search is None or all(named.baseline for named in space.named)
        how = "to the full budget" if to_the_end else "baselines to the full budget, others may be stopped early"
        lines.insert(0, f"{plural(len(space.named), 'named trial')}, {how}:")
    if search is not None:
        searched = plural(search.num_trials, "searched trial")
        if search.grace_period < search.epochs:
            lines.append(
                f"{searched} of at most {search.epochs} epochs, stopped early from epoch {search.grace_period} on:"
            )
        else:
            budget = plural(search.epochs, "epoch")
            lines.append(f"{searched} of {budget}, none stopped early, as the grace_period is not below the budget:")
        if search.full:
            lower = (f"{name} {search.fields[name]} in place of {value}" for name, value in search.full.items())
            lines.append(f"  at a lower fidelity, as are the named trials: {', '.join(lower)}")
        for name, parameter in search.parameters.items():
            lines.append(f"  {name}: {range_text(parameter)}")
    if space.final is not None:
        baselines, others = _final_trainings(space, space.final)
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
    shares = {share for _, share in _trainings(space)}
    sizes = sorted({count for share in shares for count in images_of_share(train_images, share, counted)})
    of_epoch = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    most = "at most " if search is not None else ""
    lines.append(
        f"Cost: {plural(trials * folds, 'trial')}, {most}{epochs * folds} epochs of {of_epoch} training images, "
        f"{most}{images(space, train_images, counted)} images in all."
    )
    return "\n".join(lines)


def _share(config: TrialConfig) -> str:
    return f" on {config.train_share:.0%} of the images" if config.train_share < 1 else ""
