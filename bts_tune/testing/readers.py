"""What every reader must do: see `bts_tune.data.readers.base.Reader`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import SPLITS
from bts_tune.errors import DataError
from bts_tune.registry import READERS


class ReaderContract:
    """Tests of a reader. A subclass named `Test…` overrides the fixtures `reader` and the two folders."""

    @pytest.fixture
    def reader(self) -> Reader:
        """Return the reader, which is registered."""
        raise NotImplementedError("the fixture `reader` must return the reader that is tested")

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        """Write a sound dataset with a training and a validation split and a tumour, and return its folder."""
        raise NotImplementedError("the fixture `dataset_folder` must write a dataset and return its folder")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        """Write a dataset in which one file or annotation, and no more, cannot be used, and return its folder."""
        raise NotImplementedError("the fixture `broken_folder` must write a dataset and return its folder")

    def test_it_is_registered_and_described(self, reader: Reader) -> None:
        """A reader is found by its name, and texts can name what it reads."""
        assert READERS.get(reader.name) is type(reader)
        assert reader.title
        assert reader.expects

    def test_it_recognises_its_own_layout_alone(
        self, reader: Reader, dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """No other reader recognises its datasets, and it recognises no folder without any."""
        other = tmp_path_factory.mktemp("other")
        assert not reader.recognises(other)
        (other / "notes.txt").write_text("no dataset")
        assert not reader.recognises(other)
        recognising = [one() for one in READERS.all().values() if one().recognises(dataset_folder)]
        assert [one.name for one in recognising if not one.gives_way or one.name == reader.name] == [reader.name]
        assert open_dataset(dataset_folder).layout == reader.name

    def test_a_sound_dataset_has_slices_and_no_errors(self, reader: Reader, dataset_folder: Path) -> None:
        """There is something to train on, and to validate on if the layout has splits; records know their split."""
        dataset = reader.read(dataset_folder, ReaderOptions())
        assert dataset.layout == reader.name
        assert dataset.errors == ()
        assert set(dataset.records) <= set(SPLITS)
        assert dataset.records["train"]
        assert dataset.own_splits is not None or dataset.records["valid"]
        for split, records in dataset.records.items():
            assert {record.split for record in records} <= {split}

    def test_names_are_paths_within_the_dataset_and_each_is_there_once(
        self, reader: Reader, dataset_folder: Path
    ) -> None:
        """A name is where the image lies, and which slice of it, and tells a slice from all others."""
        records = list(open_dataset(dataset_folder, reader=reader.name))
        assert len({record.name for record in records}) == len(records)
        assert len({(record.image, record.source) for record in records}) == len(records)
        for record in records:
            path = PurePosixPath(record.name)
            assert not path.is_absolute()
            assert ".." not in path.parts
            assert "\\" not in record.name
            image = dataset_folder / path
            assert record.image.resolve() in (image.resolve(), image.parent.resolve())

    def test_image_and_mask_of_every_slice_fit(self, reader: Reader, dataset_folder: Path) -> None:
        """Both can be read and have the same size, and some slice shows a tumour."""
        masks = []
        for record in open_dataset(dataset_folder, reader=reader.name):
            masks.append(read_mask(record))
            assert masks[-1].shape == read_slice(record).shape
        assert any(mask.any() for mask in masks)

    def test_groups_are_known_of_all_slices_or_of_none(self, reader: Reader, dataset_folder: Path) -> None:
        """A split by groups needs the group of every slice."""
        known = {record.group is not None for record in open_dataset(dataset_folder, reader=reader.name)}
        assert len(known) == 1

    def test_a_broken_file_becomes_an_issue(self, reader: Reader, broken_folder: Path) -> None:
        """One file that cannot be used is told, and the others are read."""
        dataset = open_dataset(broken_folder, reader=reader.name)
        assert dataset.issues
        assert len(dataset) > 0
        for issue in dataset.issues:
            assert issue.code
            assert not PurePosixPath(issue.file).is_absolute()
            assert issue.message.endswith(".")
            assert "\n" not in issue.message

    def test_a_missing_folder_is_a_data_error(self, reader: Reader, dataset_folder: Path) -> None:
        """What cannot be read as a whole is told in one sentence that names the folder."""
        missing = dataset_folder / "nowhere"
        for read in (
            lambda: reader.read(missing, ReaderOptions()),
            lambda: open_dataset(missing, reader=reader.name),
        ):
            with pytest.raises(DataError) as refusal:
                read()
            assert str(missing) in str(refusal.value)
            assert "\n" not in str(refusal.value)

    def test_reading_twice_gives_equal_datasets(self, reader: Reader, dataset_folder: Path) -> None:
        """A dataset depends on nothing but its files and the options."""
        assert reader.read(dataset_folder, ReaderOptions()) == reader.read(dataset_folder, ReaderOptions())

    def test_no_image_is_opened(self, reader: Reader, dataset_folder: Path) -> None:
        """Files that are no images any more are for the data check to find."""
        if reader.opens_files:
            pytest.skip("how many slices there are stands in the files themselves")
        before = open_dataset(dataset_folder, reader=reader.name)
        for record in before:
            record.image.write_bytes(b"no image")
        assert open_dataset(dataset_folder, reader=reader.name) == before

    def test_links_that_lead_out_of_the_dataset_are_refused(
        self, reader: Reader, dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Of a dataset of a stranger's nothing is opened that lies elsewhere; the way out is told."""
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        for number, path in enumerate(sorted(path for path in dataset_folder.rglob("*") if path.is_file())):
            path.rename(elsewhere / str(number))
            path.symlink_to(elsewhere / str(number))
        dataset = open_dataset(dataset_folder, reader=reader.name)
        assert len(dataset) == 0
        assert {issue.code for issue in dataset.errors} == {"unsafe-path"}
        assert "link that leads out of the dataset's folder" in dataset.errors[0].message

    def test_categories_that_do_not_exist_are_refused(self, reader: Reader, dataset_folder: Path) -> None:
        """Whether or not the layout has categories: a choice is never ignored."""
        with pytest.raises(DataError, match=None if reader.has_categories else "--tumor-categories"):
            open_dataset(dataset_folder, reader=reader.name, tumor_categories=["no such category"])
