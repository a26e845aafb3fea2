from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def brain_tumor_coco() -> Path:
    """The real dataset, which is not part of the repository."""
    return _beside_the_checkout("brain_tumor_coco")


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
