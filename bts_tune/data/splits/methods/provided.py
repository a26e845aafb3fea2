"""The dataset's own split. Figures on it are comparable with those that others published on it.

Of a dataset that came without a validation split, some groups of the training split are it; the test split is left
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.data.splits.methods.grouped import validation_from_training
from bts_tune.errors import DataError
from bts_tune.registry import SPLIT_METHODS

if TYPE_CHECKING:
    from bts_tune.data.records import Dataset
    from bts_tune.data.scan.scan import Scan
    from bts_tune.data.scan.similarity import Indices


@SPLIT_METHODS.register("provided")
class ProvidedSplit(SplitMethod):
    """Keeps every slice in the split that the dataset has it in."""

    description = "as the dataset came"
    uses_seed = False
    read_back_on_resume = False

    def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
        """Return the splits that the slices are in.

        Raises:
            DataError: the dataset has no split of its own, or no validation split can be taken from its training split.
        """
        if dataset.needs_splitting:
            if "train" not in (dataset.own_splits or ()):
                raise DataError(
                    f"{dataset.root}: --split provided: the dataset has no split of its own; leave the option out, or "
                    "use --split grouped."
                )
            return validation_from_training(dataset, scan, groups, seed)
        return {record.name: record.split for record in dataset}
