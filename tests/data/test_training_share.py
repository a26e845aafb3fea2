"""A share of the training images: whole groups, the same for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import bytes_to_prepare, prepare
from bts_tune.data.records import Dataset
from bts_tune.data.training_share import count_shares, images_of_share, require_batch, with_training_share
from bts_tune.errors import ConfigError, DataError
from tests.data.builders import write_coco


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(write_coco(tmp_path_factory.mktemp("coco"), count=12))


def grouped(dataset: Dataset, size: int) -> Dataset:
    """The dataset in groups of so many training images."""
    groups = {record.name: 1000 + place for place, record in enumerate(dataset)}
    groups |= {record.name: place // size for place, record in enumerate(dataset.records["train"])}
    return dataset.with_groups(groups)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_whole_groups_make_about_the_share(dataset: Dataset, share: float, size: int) -> None:
    whole = grouped(dataset, size)
    shared = with_training_share(whole, share)
    train = shared.records["train"]
    assert 0 < len(train) < len(whole.records["train"])
    assert abs(len(train) - share * len(whole.records["train"])) <= size
    drawn = {record.group for record in train}
    assert [one for one in whole.records["train"] if one.group in drawn] == list(train)
    assert {split: shared.records[split] for split in ("valid", "test")} == {
        split: whole.records[split] for split in ("valid", "test")
    }


def test_without_groups_images_are_drawn(dataset: Dataset) -> None:
    assert len(with_training_share(dataset, 0.5).records["train"]) == 6
    assert with_training_share(dataset, 1.0) is dataset


def test_the_numbers_of_groups_and_the_order_of_slices_do_not_matter(dataset: Dataset) -> None:
    whole = grouped(dataset, 2)
    other = dataset.with_groups({record.name: 77 - int(record.group or 0) for record in whole})
    assert [one.name for one in with_training_share(whole, 0.5).records["train"]] == [
        one.name for one in with_training_share(other, 0.5).records["train"]
    ]


def test_a_share_is_counted_in_whole_groups_of_each_fold(dataset: Dataset) -> None:
    folds = [grouped(dataset, 4), grouped(dataset, 6)]
    counted = count_shares([1.0, 0.3, 0.3], folds)
    assert counted == {0.3: [4, 6]}
    assert images_of_share([12, 12], 0.3, counted) == [4, 6]
    assert images_of_share([12, 12], 0.5, counted) == [6, 6]


def test_one_group_is_always_left(dataset: Dataset) -> None:
    assert len(with_training_share(grouped(dataset, 6), 0.01).records["train"]) == 6


def test_all_image_sizes_have_the_same_images(dataset: Dataset, tmp_path: Path) -> None:
    whole = grouped(dataset, 2)
    expected = [record.name for record in with_training_share(whole, 0.5).records["train"]]
    for size in (32, 64):
        part = PreprocessingPart(image_size=size, train_share=0.5)
        to_write = bytes_to_prepare(whole, part, cache=tmp_path)
        found = prepare(whole, part, cache=tmp_path)
        assert found.train.names == expected
        assert found.train.images.shape == (6, size, size)
        assert found.preprocessing == part
        all_of_it = prepare(whole, PreprocessingPart(image_size=size), cache=tmp_path)
        assert all_of_it.key != found.key
        assert found.valid.names == all_of_it.valid.names
        assert (found.valid.images == all_of_it.valid.images).all()
        assert to_write == 2 * size**2 * sum(map(len, (found.train, found.valid, found.test)))
        assert bytes_to_prepare(whole, part, cache=tmp_path) == 0


def test_other_groups_are_other_data(dataset: Dataset, tmp_path: Path) -> None:
    part = PreprocessingPart(image_size=32, train_share=0.25)
    keys = {prepare(one, part, cache=tmp_path).key for one in (grouped(dataset, 1), grouped(dataset, 3))}
    assert len(keys) == 2


def test_all_images_are_prepared_as_they_were() -> None:
    assert "train_share" not in PreprocessingPart().model_dump(mode="json")


def test_less_than_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^train_share 0.1: leaves 3 training images, fewer than the batch_s"):
        require_batch(0.1, 3, 8)
    require_batch(0.1, 8, 8)
    require_batch(1.0, 3, 8)


def test_a_slice_without_a_group_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="has no group"):
        dataset.with_groups({})
