"""The dataset of the demo profile: phantoms, generated once into the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from bts_tune.data.prepared.cache import places
from bts_tune.data.synthetic.phantom import write_phantom

# Part of the folder's name, so that a change here or in the phantoms' looks never meets an older dataset.
VERSION = 3
COUNT = 240
IMAGE_SIZE = 128
# Many patients with few slices each, and plain tumours: what is learnt on 84 of them holds for others within epochs.
SLICES_PER_PATIENT = 2
SEED = 1
PATIENT = r"(p\d+)_s\d+"
"""Finds the patient in a file's name."""


def demo_dataset(cache: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Return the folder of the demo dataset, generating it where the cache has none."""
    for place in places(cache):
        folder = place / "phantoms" / f"demo-v{VERSION}"
        if folder.is_dir():
            return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            write_phantom(
                folder,
                count=COUNT,
                image_size=IMAGE_SIZE,
                slices_per_patient=SLICES_PER_PATIENT,
                plain=True,
                seed=SEED,
                progress=progress,
            )
    return folder
