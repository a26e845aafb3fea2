"""A split method of one's own: the group's number and the seed alone decide, whatever else the dataset holds.

bts-tune --space baseline --data DIR --plugin by_hash.py --split by-hash --group-by '(P\\d+)_'
"""

import hashlib

from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import Indices
from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.errors import DataError
from bts_tune.registry import SPLIT_METHODS


@SPLIT_METHODS.register("by-hash")
class ByHash(SplitMethod):
    """Order the groups by a hash of the seed and their first slice's name; cut the order at 70 % and 90 %."""

    description = "assigned by a hash of each group"
    keeps_groups_together = True

    def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
        members: dict[int, list[str]] = {}
        for name, group in zip(scan.names, groups.tolist(), strict=True):
            members.setdefault(group, []).append(name)
        if len(members) < 3:
            raise DataError(f"{dataset.root}: forms {len(members)} groups; --split by-hash needs at least 3.")
        order = sorted(members.values(), key=lambda names: hashlib.sha256(f"{seed}:{min(names)}".encode()).digest())
        valid, test = max(1, len(order) // 5), max(1, len(order) // 10)
        splits = ["valid"] * valid + ["test"] * test + ["train"] * (len(order) - valid - test)
        return {name: split for names, split in zip(order, splits, strict=True) for name in names}
