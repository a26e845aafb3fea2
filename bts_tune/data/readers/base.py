"""What a reader is: it turns a dataset's folder of one layout into a `Dataset`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bts_tune.data.records import Dataset
from bts_tune.data.volumes.planes import PLANES
from bts_tune.errors import DataError

ALL_SEQUENCES = "all"
"""In place of a sequence's name: each of them is a channel, in the order of their numbers or names."""


@dataclass(frozen=True)
class ReaderOptions:
    """What a user can choose about the reading.

    Attributes:
        tumor_categories: names or ids of the categories that count as tumour, None for all. Only a reader whose
            `has_categories` is true is given any.
        split_seed: seed of a split that the reader makes itself.
        plane: one of `PLANES`, along which volumes are cut into slices.
        empty_slices: share that slices without a tumour should be of the slices of a volume; 1 for all of them.
        sequence: of a dataset with several, the one that is read, or `ALL_SEQUENCES`; None where there is one. Only a
            reader whose `has_sequences` is true is given any.
        tumor_labels: the values of mask files that are tumour, None for all but 0: which slices of a volume hold one.
    """

    tumor_categories: Sequence[str] | None = None
    split_seed: int = 0
    plane: str = "axial"
    empty_slices: float = 0.2
    sequence: str | None = None
    tumor_labels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check what is given.

        Raises:
            DataError: there is no such plane or share.
        """
        if self.plane not in PLANES:
            raise DataError(f"--plane {self.plane!r}: must be one of {', '.join(PLANES)}.")
        if not 0 <= self.empty_slices <= 1:
            raise DataError(f"--empty-slices {self.empty_slices:g}: must be a share from 0 to 1.")


class Reader(ABC):
    """Reads datasets of one layout.

    A subclass is made without arguments and registered by name with `bts_tune.registry.READERS.register("…")`. The
    name becomes `Dataset.layout` and is recorded in run folders. `bts_tune.testing.readers.ReaderContract` tests what
    is promised here.

    `read` returns a `Dataset` such that:

    - `layout` is the reader's name, and the keys of `records` are among `SPLITS`; `train` is there. Where the layout
      has no validation split, or no splits at all (then `own_splits` is empty), the split is made later, by groups.
    - A record's `name` is the path of its image relative to `root`, with forward slashes and without `..`; of a file
      that holds several slices, `/` and the slice follow. No two records have the same name. Image and mask lie below
      `root`.
    - A record has a `mask` (see `bts_tune.data.mask_rule`) or, with the image's size, `annotations`. Where no image
      file of its own holds the pixels, it has a `source` that reads them (`bts_tune.data.records.PixelSource`), and
      `image` and `mask` are the files that the source reads.
    - Either every record has a `group`, or none has. A group is a patient or whatever else must stay in one split.
    - Reading the same folder twice gives equal datasets, with the records in the same order.

    What is wrong with a single file or annotation becomes an `Issue`, so that one check lists all of them; the slice
    is left out where it cannot be used. What makes the whole folder unusable is a `DataError` of one sentence: which
    file or folder, what is wrong, what is allowed.

    No image is opened: the data check does that, and reports images that cannot be decoded. Files that no record and
    no issue names are counted for all readers by `bts_tune.data.left_out`.

    Attributes:
        name: the registered name; the registry sets it.
        title: what such a dataset is called in texts, such as `COCO export`.
        expects: what the folder must hold, such as `images/ and masks/`; it completes "expected …".
        has_categories: whether annotations have categories. If so, `read` takes `ReaderOptions.tumor_categories`, and
            the data check counts annotations.
        cuts_volumes: whether `read` takes `ReaderOptions.plane` and `empty_slices`. Of a dataset without volumes, whose
            records have no `source`, they are refused all the same.
        has_sequences: whether `read` takes `ReaderOptions.sequence`.
        gives_way: whether another reader that recognises a folder too is preferred, as this one's layout is general.
        opens_files: whether `read` must open the files that hold the pixels, to know how many slices there are.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str]
    expects: ClassVar[str]
    has_categories: ClassVar[bool] = False
    cuts_volumes: ClassVar[bool] = False
    has_sequences: ClassVar[bool] = False
    gives_way: ClassVar[bool] = False
    opens_files: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, root: Path) -> bool:
        """Return whether the folder has this layout, judged by names of files and folders alone.

        Be generous with an incomplete dataset, as `read` can say what is missing; but no two readers may recognise the
        same folder.

        Args:
            root: an existing folder.
        """

    @abstractmethod
    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        """Return the dataset in a folder; see the class for what it must be.

        Args:
            root: the folder.
            options: what the user chose.

        Raises:
            DataError: the folder as a whole cannot be used.
        """

    def hint(self, root: Path) -> str | None:
        """Return what to do with a folder that no reader recognises, where this one knows; else None.

        Args:
            root: an existing folder.
        """
        return None
