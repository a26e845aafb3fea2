from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.synthetic import demo
from bts_tune.data.synthetic.demo import PATIENT, demo_dataset


@pytest.fixture(autouse=True)
def few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COUNT", 12)
    monkeypatch.setattr(demo, "IMAGE_SIZE", 32)


def test_it_is_generated_once_into_the_cache(tmp_path: Path) -> None:
    seen: list[int] = []
    root = demo_dataset(tmp_path / "cache", lambda done, total: seen.append(total))
    assert root.is_relative_to(tmp_path / "cache")
    assert set(seen) == {12}
    dataset = open_dataset(root)
    assert len(dataset) == 12
    assert dataset.errors == ()
    again = demo_dataset(tmp_path / "cache", lambda done, total: pytest.fail("it was generated again"))
    assert again == root


def test_the_patient_is_in_every_name_and_lies_in_one_split(tmp_path: Path) -> None:
    splits: dict[str, set[str]] = {}
    for record in open_dataset(demo_dataset(tmp_path)):
        found = re.search(PATIENT, record.name)
        assert found is not None
        splits.setdefault(found[1], set()).add(record.split)
    assert len(splits) == 6
    assert all(len(one) == 1 for one in splits.values())


def test_two_that_want_it_at_once_get_the_same(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(demo_dataset(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1
    assert len(open_dataset(found[0])) == 12


def test_another_version_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo_dataset(tmp_path)
    monkeypatch.setattr(demo, "VERSION", demo.VERSION + 1)
    assert demo_dataset(tmp_path) != first
