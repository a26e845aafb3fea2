"""The contract of readers finds what breaks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.readers.folders import FoldersReader
from bts_tune.data.records import Dataset
from bts_tune.errors import DataError
from bts_tune.registry import READERS
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import write_pairs


class Doubling(FoldersReader):
    """Gives the first training slice twice."""

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        dataset = super().read(root, options)
        train = dataset.records["train"]
        return replace(dataset, records={**dataset.records, "train": (train[0], *train)})


class Strict(FoldersReader):
    """Stops at the first thing that is wrong."""

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        dataset = super().read(root, options)
        if dataset.issues:
            raise DataError(dataset.issues[0].message)
        return dataset


class Opening(FoldersReader):
    """Opens every image."""

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        dataset = super().read(root, options)
        records = {
            split: tuple(replace(one, width=len(one.image.read_bytes())) for one in members)
            for split, members in dataset.records.items()
        }
        return replace(dataset, records=records)


class Grouping(FoldersReader):
    """Knows the group of the first training slice alone."""

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        dataset = super().read(root, options)
        first, *others = dataset.records["train"]
        return replace(dataset, records={**dataset.records, "train": (replace(first, group="a"), *others)})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READERS, "_entries", dict(READERS._entries))
    for reader in (Doubling, Strict, Opening, Grouping):
        READERS.register(reader.__name__.lower())(reader)


@pytest.mark.usefixtures("registered")
def test_what_breaks_the_contract_is_found(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    contract, root = ReaderContract(), write_pairs(tmp_path / "dataset", 10)
    contract.test_names_are_paths_within_the_dataset_and_each_is_there_once(FoldersReader(), root)
    with pytest.raises(DataError, match="gives 2 slices the name"):
        contract.test_names_are_paths_within_the_dataset_and_each_is_there_once(Doubling(), root)
    contract.test_groups_are_known_of_all_slices_or_of_none(FoldersReader(), root)
    with pytest.raises(AssertionError):
        contract.test_groups_are_known_of_all_slices_or_of_none(Grouping(), root)
    # They recognise what is another reader's.
    with pytest.raises(AssertionError):
        contract.test_it_recognises_its_own_layout_alone(Doubling(), root, tmp_path_factory)
    with pytest.raises(AssertionError):
        contract.test_no_image_is_opened(Opening(), root)
    (root / "masks" / "s003.png").unlink()
    contract.test_a_broken_file_becomes_an_issue(FoldersReader(), root)
    with pytest.raises(DataError):
        contract.test_a_broken_file_becomes_an_issue(Strict(), root)
