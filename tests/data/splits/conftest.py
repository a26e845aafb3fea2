from __future__ import annotations

import pytest

from bts_tune.data.synthetic.phantom import write_phantom
from tests.data.splits.builders import Scanned, scanned


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """200 slices of 25 patients."""
    root = tmp_path_factory.mktemp("phantoms") / "d"
    write_phantom(root, count=200, image_size=64, slices_per_patient=8, workers=1)
    return scanned(root)
