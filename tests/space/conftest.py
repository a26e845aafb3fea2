from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.space import Space
from tests.space.builders import SMALL, from_text


@pytest.fixture
def small(tmp_path: Path) -> Space:
    return from_text(tmp_path, SMALL)
