from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bts_tune.config import PreprocessingPart
from bts_tune.data.mask_rule import MaskRule
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared import prepare as module
from bts_tune.data.prepared.images import preprocess, read_grey, read_mask, resize_mask
from bts_tune.data.prepared.prepare import PreparedData, load_prepared, prepare
from bts_tune.data.records import SPLITS
from bts_tune.errors import DataError
from tests.data.builders import annotation, noise, write_coco, write_image, write_pairs

PART = PreprocessingPart(image_size=32, equalization="clahe")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def prepared(root: Path, cache: Path, part: PreprocessingPart = PART, **options: Any) -> PreparedData:
    return prepare(open_dataset(root), part, cache=cache, **options)


def left_over(cache: Path) -> list[Path]:
    return list(cache.glob(".*.*"))


@pytest.mark.parametrize("kind", ["none", "histogram", "clahe"])
def test_holds_what_preprocessing_gives(root: Path, cache: Path, kind: Any) -> None:
    part = PreprocessingPart(image_size=64, equalization=kind)
    data = prepared(root, cache, part)
    dataset = open_dataset(root)
    for split in SPLITS:
        arrays = getattr(data, split)
        assert arrays.names == [record.name for record in dataset.records[split]]
        assert len(arrays) == len(arrays.names)
        for array in (arrays.images, arrays.masks):
            assert (array.dtype, array.shape) == (np.uint8, (len(arrays), 64, 64))
        for index, record in enumerate(dataset.records[split]):
            assert np.array_equal(arrays.images[index], preprocess(read_grey(record.image), part))
            assert np.array_equal(arrays.masks[index], resize_mask(read_mask(record), 64))
    assert data.preprocessing == part


def test_arrays_are_mapped_and_read_only(root: Path, cache: Path) -> None:
    data = prepared(root, cache)
    for array in (data.train.images, data.valid.masks):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


def test_mean_and_deviation_are_those_of_the_training_split(root: Path, cache: Path) -> None:
    data = prepared(root, cache)
    pixels = np.asarray(data.train.images, dtype=np.float64)
    assert data.mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert data.std == pytest.approx(pixels.std(), rel=1e-12)


def test_the_number_of_workers_changes_nothing(root: Path, tmp_path: Path) -> None:
    one = prepared(root, tmp_path / "one", workers=1)
    four = prepared(root, tmp_path / "four", workers=4)
    assert (one.key, one.mean, one.std) == (four.key, four.mean, four.std)
    assert np.array_equal(one.train.images, four.train.images)


def test_folders_and_an_empty_test_split(tmp_path: Path, cache: Path) -> None:
    for split, count in (("train", 3), ("valid", 1)):
        write_pairs(tmp_path / "data" / split, count)
    data = prepared(tmp_path / "data", cache)
    assert (len(data.train), len(data.valid), len(data.test)) == (3, 1, 0)
    assert data.test.images.shape == (0, 32, 32)
    assert set(np.unique(data.train.masks)) == {0, 1}


def test_the_second_call_builds_nothing(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    first = prepared(root, cache, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]
    monkeypatch.setattr(module, "_build", None)
    again = prepared(root, cache, progress=lambda done, total: pytest.fail("progress of nothing"))
    assert again.folder == first.folder == cache / first.key
    assert np.array_equal(again.train.images, first.train.images)


def test_the_key_depends_on_contents_and_preprocessing(root: Path, cache: Path) -> None:
    keys = {prepared(root, cache, PreprocessingPart(image_size=size)).key for size in (32, 64)}
    keys.add(prepared(root, cache).key)
    write_image(root / "valid" / "0.png", noise(seed=77))
    keys.add(prepared(root, cache).key)
    assert len(keys) == 4


def test_the_cache_is_named_by_the_environment(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BTS_TUNE_CACHE", str(cache))
    assert prepare(open_dataset(root), PART).folder.parent == cache


def test_a_relative_cache_can_be_opened_from_another_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = prepared(root, Path("relative")).folder
    monkeypatch.chdir("/")
    assert len(load_prepared(folder).train) == 3


def test_pickles_as_its_folder(root: Path, cache: Path) -> None:
    data = prepared(root, cache)
    content = pickle.dumps(data)
    assert len(content) < 1000
    copy = pickle.loads(content)
    assert np.array_equal(copy.valid.masks, data.valid.masks)
    assert isinstance(copy.valid.masks, np.memmap)


class TestRefusing:
    def test_a_dataset_with_errors(self, root: Path, cache: Path) -> None:
        write_coco(root, annotations=[annotation(9, 0, None)])
        with pytest.raises(DataError, match=r"1 error\(s\), the first one in train/0\.png, annotation 9: .*data check"):
            prepared(root, cache)
        assert not cache.exists()

    @pytest.mark.parametrize("split", ["train", "valid"])
    def test_an_empty_split(self, root: Path, cache: Path, split: str) -> None:
        dataset = open_dataset(root)
        with pytest.raises(DataError, match=f"the {split} split holds no image"):
            prepare(replace(dataset, records={**dataset.records, split: ()}), PART, cache=cache)

    def test_an_unreadable_image_leaves_nothing(self, root: Path, cache: Path) -> None:
        (root / "test" / "0.png").write_bytes(b"\x89PNG")
        with pytest.raises(DataError, match=r"test/0\.png"):
            prepared(root, cache)
        assert [path for path in cache.iterdir() if path.name != ".locks"] == []

    def test_an_image_of_another_size_than_its_mask(self, root: Path, cache: Path) -> None:
        write_image(root / "valid" / "1.png", noise(41, 60))
        with pytest.raises(DataError, match=r"valid/1\.png: has 60 x 41 pixels, its mask or declared size 60 x 40"):
            prepared(root, cache)

    def test_training_images_without_any_contrast(self, root: Path, cache: Path) -> None:
        for path in (root / "train").glob("*.png"):
            write_image(path, np.full((40, 60), 7, dtype=np.uint8))
        with pytest.raises(DataError, match="all pixels of the training split have the same value"):
            prepared(root, cache, PreprocessingPart(image_size=32, equalization="none"))

    def test_a_cache_that_cannot_be_written(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=r"the cache cannot be written: .*BTS_TUNE_CACHE"):
            prepared(root, tmp_path / "file" / "cache")

    def test_a_full_disk(self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match="No space left on device"):
            prepared(root, cache)
        assert left_over(cache) == []


class TestBrokenEntries:
    def damage_meta(self, folder: Path, **changes: Any) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, **changes}))

    @pytest.mark.parametrize(
        "damage",
        [
            lambda folder: (folder / "meta.json").unlink(),
            lambda folder: (folder / "meta.json").write_text("{"),
            lambda folder: (folder / "meta.json").write_text("[]"),
            lambda folder: (folder / "train_images.npy").unlink(),
            lambda folder: (folder / "train_images.npy").write_bytes(b""),
            lambda folder: os.truncate(folder / "valid_masks.npy", 600),
            lambda folder: np.save(folder / "test_masks.npy", np.zeros((1, 32, 32), dtype=np.float32)),
            lambda folder: np.save(folder / "test_masks.npy", np.zeros((2, 32, 32), dtype=np.uint8)),
            lambda folder: TestBrokenEntries().damage_meta(folder, format=0),
            lambda folder: TestBrokenEntries().damage_meta(folder, std=0),
            lambda folder: TestBrokenEntries().damage_meta(folder, names={"train": []}),
            lambda folder: TestBrokenEntries().damage_meta(folder, preprocessing={"image_size": 64}),
        ],
    )
    def test_are_refused_and_built_anew(self, root: Path, cache: Path, damage: Any) -> None:
        first = prepared(root, cache)
        images = np.array(first.train.images)
        folder = first.folder
        del first
        damage(folder)
        with pytest.raises(DataError, match=f"^{folder}: "):
            load_prepared(folder)
        again = prepared(root, cache)
        assert np.array_equal(again.train.images, images)
        assert left_over(cache) == []

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is not a whole prepared dataset"):
            load_prepared(tmp_path / "nowhere")

    def test_what_a_killed_build_left_is_removed(self, root: Path, cache: Path) -> None:
        key = prepared(root, cache).key
        os.truncate(cache / key / "train_images.npy", 0)
        stale = cache / f".{key}.abc"
        stale.mkdir()
        (stale / "train_images.npy").write_bytes(b"x")
        prepared(root, cache)
        assert not stale.exists()


class TestConcurrentBuilds:
    def test_threads_build_once(self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        builds = []
        build = module._build

        def counted(*arguments: Any) -> None:
            builds.append(threading.get_ident())
            build(*arguments)

        monkeypatch.setattr(module, "_build", counted)
        start = threading.Barrier(4)
        results: list[PreparedData] = []

        def work() -> None:
            start.wait()
            results.append(prepared(root, cache))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(builds) == 1
        assert len({result.key for result in results}) == 1
        assert len(results) == 4

    def test_processes_do_not_spoil_each_other(self, root: Path, cache: Path) -> None:
        script = (
            "import sys; from pathlib import Path\n"
            "from bts_tune.config import PreprocessingPart\n"
            "from bts_tune.data.prepared.prepare import prepare\n"
            "from bts_tune.data.open import open_dataset\n"
            "part = PreprocessingPart(image_size=32, equalization='clahe')\n"
            "print(int(prepare(open_dataset(Path(sys.argv[1])), part, cache=Path(sys.argv[2])).train.images.sum()))\n"
        )
        started = [
            subprocess.Popen([sys.executable, "-c", script, str(root), str(cache)], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        answers = [process.communicate(timeout=120)[0].strip() for process in started]
        assert answers == [str(int(prepared(root, cache).train.images.sum()))] * 3
        assert left_over(cache) == []


def test_the_real_dataset(brain_tumor_coco: Path, cache: Path) -> None:
    dataset = open_dataset(brain_tumor_coco)
    few = replace(dataset, records={split: records[:40] for split, records in dataset.records.items()})
    data = prepare(few, PreprocessingPart(image_size=224), cache=cache)
    scale = 224 / 640
    for split in SPLITS:
        for record, mask in zip(few.records[split], getattr(data, split).masks, strict=True):
            (box,) = (one.bbox for one in record.annotations)
            assert box is not None
            x, y, width, height = (scale * value for value in box)
            rows, columns = np.nonzero(mask)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.array(found) - [x, y, x + width, y + height]).max() <= 1


class TestKeys:
    """What is read as it always was keeps its place in the cache."""

    def test_of_a_coco_export(self, root: Path) -> None:
        made_from = {
            "format": module.FORMAT,
            "dataset": open_dataset(root).fingerprint(),
            "preprocessing": PART.model_dump(mode="json"),
            "opencv": module.cv2.__version__,
        }
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        assert module._key(open_dataset(root), PART) == key

    def test_of_masks_of_two_values(self, tmp_path: Path, cache: Path) -> None:
        for split, count in (("train", 4), ("valid", 2)):
            write_pairs(tmp_path / split, count)
        dataset = open_dataset(tmp_path)
        key = module._key(dataset, PART)
        assert prepare(dataset, PART, cache=cache).key == key
        assert module._key(replace(dataset, mask_rule=MaskRule("half", cut=127.5)), PART) != key

    def test_of_images_that_are_turned(self, tmp_path: Path, cache: Path) -> None:
        for split, count in (("train", 4), ("valid", 2)):
            write_pairs(tmp_path / split, count, height=40, width=40)
        first = prepared(tmp_path, cache)
        tag = Image.Exif()
        tag[0x0112] = 3
        Image.fromarray(noise(40, 40)).save(tmp_path / "train" / "images" / "s000.png", exif=tag)
        turned = prepared(tmp_path, cache)
        assert turned.key != first.key
        shown = preprocess(noise(40, 40)[::-1, ::-1].copy(), PART)
        place = turned.train.names.index("train/images/s000.png")
        assert np.array_equal(turned.train.images[place], shown)
