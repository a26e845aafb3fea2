from __future__ import annotations

import importlib.metadata

import bts_tune
from bts_tune.version import __version__


def test_there_is_one_version() -> None:
    assert bts_tune.__version__ == __version__ == importlib.metadata.version("bts-tune")
