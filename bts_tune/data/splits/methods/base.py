"""What a split method is: it decides which slice is in which split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bts_tune.data.records import Dataset
    from bts_tune.data.scan.scan import Scan
    from bts_tune.data.scan.similarity import Indices


class SplitMethod(ABC):
    """Assigns the slices of a dataset to the training, validation and test split.

    A subclass is made without arguments and registered by name with `bts_tune.registry.SPLIT_METHODS.register("…")`;
    `--split` takes the name. `bts_tune.testing.splits.SplitMethodContract` tests what is promised here.

    Attributes:
        name: the registered name; the registry sets it.
        description: what it does, for the report, such as `as the dataset came`.
        keeps_groups_together: whether every group is in one split.
        joins_near_duplicates: whether near-duplicates are joined to one group before, where patients are not known and
            the groups do not become too large (see `bts_tune.data.splits.groups`).
        uses_seed: whether another seed may give another split.
        read_back_on_resume: whether a run that goes on reads its split from `split.csv`. It must, where another version
            of a library or of the method may give another split.
    """

    name: ClassVar[str] = ""
    description: ClassVar[str]
    keeps_groups_together: ClassVar[bool] = False
    joins_near_duplicates: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    read_back_on_resume: ClassVar[bool] = True

    @abstractmethod
    def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
        """Return the split of every slice, by name: `train`, `valid` or `test`.

        The same arguments give the same split, and the order of the dataset's records has no effect.

        Args:
            dataset: in the splits that it came with.
            scan: what opening its slices showed, such as the tumour's area.
            groups: the group of each slice, int64 [N], in the order of `scan.names`.
            seed: of whatever is random.

        Raises:
            DataError: the dataset cannot be split in this way.
        """
