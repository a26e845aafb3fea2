"""A share of the training images, for a training at a lower cost: whole groups, the same ones for every trial."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bts_tune.data.records import Dataset, SliceRecord
from bts_tune.errors import ConfigError

Counted = Mapping[float, Sequence[int]]
"""How many training images each share below 1 leaves, of each fold; of the one split where there are no folds."""


def with_training_share(dataset: Dataset, share: float) -> Dataset:
    """Return the dataset with a share of its training images; validation and test stay whole.

    Whole groups are drawn (see `SliceRecord.group`); of a slice without one, the slice itself. What is drawn follows
    from the names of the slices alone, so that all trials, and all image sizes, have the same ones. There is always one
    group at least.
    """
    if share >= 1:
        return dataset
    train = dataset.records["train"]
    groups: dict[tuple[bool, str], list[SliceRecord]] = defaultdict(list)
    for record in train:
        groups[record.group is not None, record.name if record.group is None else record.group].append(record)
    shuffled = sorted(groups.values(), key=_place)
    wanted, taken = share * len(train), 0
    chosen: set[str] = set()
    for members in shuffled:
        # What would lead further from the wanted number, a large group above all, is passed over.
        if abs(taken + len(members) - wanted) < abs(taken - wanted):
            chosen.update(record.name for record in members)
            taken += len(members)
    if not chosen and shuffled:
        chosen.update(record.name for record in min(shuffled, key=len))
    kept = tuple(record for record in train if record.name in chosen)
    return replace(dataset, records={**dataset.records, "train": kept})


def count_shares(shares: Iterable[float], datasets: Sequence[Dataset]) -> dict[float, list[int]]:
    """Return how many training images each share below 1 leaves of each dataset."""
    return {
        share: [len(with_training_share(dataset, share).records["train"]) for dataset in datasets]
        for share in sorted(set(shares))
        if share < 1
    }


def images_of_share(train_images: Sequence[int], share: float, counted: Counted) -> list[int]:
    """Return how many training images a share leaves, of each fold: counted, or about so many where nobody has."""
    return list(counted[share]) if share in counted else [round(images * share) for images in train_images]


def require_batch(share: float, images: int, batch_size: int) -> None:
    """Refuse a share that leaves less than one batch.

    Raises:
        ConfigError: it does.
    """
    if share < 1 and images < batch_size:
        raise ConfigError(
            f"train_share {share:g}: leaves {images} training image{'s' if images != 1 else ''}, fewer than the "
            f"batch_size of {batch_size}; at least one batch must remain."
        )


def _place(members: list[SliceRecord]) -> bytes:
    # A digest of names gives an order that is as good as drawn, and that no other slice of the dataset changes.
    return hashlib.sha256(min(record.name for record in members).encode(errors="surrogateescape")).digest()
