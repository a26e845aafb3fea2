from __future__ import annotations

import gc
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import Cleared, Lease, building, clear, default_cache, entries, own_cache, size
from bts_tune.data.prepared.prepare import PreparedData, load_prepared, prepare
from bts_tune.errors import DataError
from tests.accounts import another_user
from tests.data.builders import write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fill(root: Path, cache: Path, image_size: int = 32) -> PreparedData:
    return prepare(open_dataset(root), PreprocessingPart(image_size=image_size), cache=cache)


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BTS_TUNE_CACHE", "~/somewhere")
    assert default_cache() == Path.home() / "somewhere"
    monkeypatch.delenv("BTS_TUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "bts-tune" / "prepared"


def test_what_others_may_read_is_what_its_owner_lets_them(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    before = os.umask(0o027)
    try:
        named, own = fill(root, cache), fill(root, own_cache())
    finally:
        os.umask(before)
    assert [stat.S_IMODE(data.folder.stat().st_mode) for data in (named, own)] == [0o750, 0o700]


def test_who_may_write_to_a_cache_may_lock_its_entries(root: Path, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o1777)
    fill(root, cache)
    assert stat.S_IMODE((cache / ".locks").stat().st_mode) == 0o1777


def test_a_cache_of_somebody_else_has_the_own_one_beside_it(root: Path) -> None:
    program = """
import sys
from pathlib import Path
from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import bytes_to_prepare, prepare
dataset, cache = open_dataset(Path(sys.argv[1])), Path(sys.argv[2])
for size in (32, 64):
    part = PreprocessingPart(image_size=size)
    print(bytes_to_prepare(dataset, part, cache=cache) > 0, prepare(dataset, part, cache=cache).folder.parent)
    print(bytes_to_prepare(dataset, part, cache=cache) > 0, prepare(dataset, part, cache=cache).folder.parent)
"""
    with another_user() as other:
        data, cache = shutil.copytree(root, other.common / "data"), other.common / "cache"
        fill(data, cache)
        done = subprocess.run(
            [*other.program, sys.executable, "-c", program, str(data), str(cache)],
            env={**os.environ, "XDG_CACHE_HOME": str(other.home), "PYTHONPATH": str(Path(__file__).parents[3])},
            cwd=other.home,
            capture_output=True,
            text=True,
            check=False,
        )
        own = other.home / "bts-tune" / "prepared"
        assert done.stdout.splitlines() == [
            f"False {cache}",
            f"False {cache}",
            f"True {own}",
            f"False {own}",
        ], done.stderr
        assert len(entries(own)) == 1


def test_entries_say_what_they_were_made_from(root: Path, cache: Path) -> None:
    keys = {fill(root, cache, image_size).key for image_size in (32, 64)}
    found = entries(cache)
    assert {entry.key for entry in found} == keys
    assert {entry.preprocessing["image_size"] for entry in found} == {32, 64}
    assert {entry.dataset for entry in found} == {str(root)}
    assert found[0].modified >= found[1].modified
    assert sum(entry.size for entry in found) == size(cache)
    assert size(cache) > 2 * 6 * (32**2 + 64**2)


def test_a_broken_entry_is_listed(root: Path, cache: Path) -> None:
    folder = fill(root, cache).folder
    (folder / "meta.json").write_text("[]")
    (entry,) = entries(cache)
    assert (entry.dataset, entry.preprocessing) == ("", {})


def test_a_missing_cache_is_empty(cache: Path) -> None:
    assert entries(cache) == []
    assert size(cache) == 0
    assert clear(cache) == Cleared(0, 0, 0)
    assert not cache.exists()


def test_clearing_removes_what_nothing_uses(root: Path, cache: Path) -> None:
    fill(root, cache)
    fill(root, cache, 64)
    gc.collect()
    before = size(cache)
    assert clear(cache) == Cleared(removed=2, freed=before, in_use=0)
    assert entries(cache) == []
    assert size(cache) == 0


def test_clearing_spares_what_is_open(root: Path, cache: Path) -> None:
    data = fill(root, cache)
    fill(root, cache, 64)
    gc.collect()
    cleared = clear(cache)
    assert (cleared.removed, cleared.in_use) == (1, 1)
    assert np.array_equal(load_prepared(data.folder).train.images, data.train.images)
    del data
    gc.collect()
    assert clear(cache).removed == 1


def test_clearing_spares_what_is_being_built(cache: Path) -> None:
    key = "0" * 32
    begun, done = threading.Event(), threading.Event()

    def build() -> None:
        with building(cache, key):
            (cache / f".{key}.part").mkdir()
            begun.set()
            done.wait(30)

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(30)
    clear(cache)
    assert (cache / f".{key}.part").exists()
    done.set()
    thread.join()
    clear(cache)
    assert not (cache / f".{key}.part").exists()


def test_clearing_touches_nothing_else(root: Path, cache: Path) -> None:
    fill(root, cache)
    (cache / "notes").mkdir()
    (cache / "notes" / "a.txt").write_text("mine")
    (cache / ".hidden.d").mkdir()
    gc.collect()
    clear(cache)
    assert (cache / "notes" / "a.txt").read_text() == "mine"
    assert (cache / ".hidden.d").is_dir()


def test_clearing_removes_broken_entries(cache: Path) -> None:
    broken = cache / ("a" * 32)
    broken.mkdir(parents=True)
    (broken / "train_images.npy").write_bytes(b"123")
    assert clear(cache) == Cleared(removed=1, freed=3, in_use=0)


def test_what_cannot_be_removed_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / ("a" * 32)).mkdir(parents=True)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match="aaaa: cannot be removed: Permission denied"):
        clear(cache)


def test_a_lease_ends_when_it_is_closed(root: Path, cache: Path) -> None:
    folder = fill(root, cache).folder
    gc.collect()
    lease = Lease(folder)
    assert json.loads(lease.read())["key"] == folder.name
    assert clear(cache).in_use == 1
    lease.close()
    assert clear(cache).removed == 1
