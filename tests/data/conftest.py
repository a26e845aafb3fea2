from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.scan.scan import scan_dataset
from tests.data.splits.builders import Scanned


@pytest.fixture(scope="session")
def brain_tumor_coco() -> Path:
    """The real dataset, which is not part of the repository."""
    return _beside_the_checkout("brain_tumor_coco")


@pytest.fixture(scope="session")
def real(brain_tumor_coco: Path, made_once: Callable[[str, Callable[[Path], None]], Path]) -> Scanned:
    """The real dataset with its scan, which takes ten seconds of a core: once for all processes of a session."""
    dataset = open_dataset(brain_tumor_coco)

    def scan(folder: Path) -> None:
        folder.mkdir()
        (folder / "scan").write_bytes(pickle.dumps(scan_dataset(dataset)))

    return Scanned(dataset, pickle.loads((made_once("real", scan) / "scan").read_bytes()))


@pytest.fixture(scope="session")
def brisc2025() -> Path:
    """Another real dataset, which is not part of the repository."""
    return _beside_the_checkout("brisc2025")


def _beside_the_checkout(name: str) -> Path:
    for folder in Path(__file__).resolve().parents:
        dataset = folder / "shared" / "data" / name
        if dataset.is_dir():
            return dataset
    pytest.skip(f"the dataset shared/data/{name} is not beside the checkout")


@pytest.fixture(scope="session")
def brisc() -> Path:
    """A second real dataset, with masks that once were JPEGs; not part of the repository either."""
    for folder in Path(__file__).resolve().parents:
        dataset = folder / "shared" / "data" / "brisc2025"
        if dataset.is_dir():
            return dataset
    pytest.skip("the dataset shared/data/brisc2025 is not beside the checkout")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what commands put into the cache away from the user's own."""
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
