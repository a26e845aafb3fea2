from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bts_tune.data.extras import import_extra
from bts_tune.errors import DataError


def test_a_package_that_is_there_is_imported() -> None:
    assert import_extra("json", "nifti", Path("slices")) is sys.modules["json"]


def test_of_one_that_is_not_a_sentence_says_what_installs_it() -> None:
    with pytest.raises(DataError) as refused:
        import_extra("no_such_package", "figshare", Path("slices"))
    assert str(refused.value) == (
        "slices: is read with no_such_package, which is not installed: pip install 'bts-tune[figshare]'."
    )
