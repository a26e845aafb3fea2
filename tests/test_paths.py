from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.errors import ConfigError
from bts_tune.paths import user_path


@pytest.mark.parametrize("written", ["a/b.yaml", "/a/b", ".", "a~b", "a/~/b"])
def test_other_paths_stay_as_they_are(written: str) -> None:
    assert user_path(written) == Path(written)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == user_path(Path("~/a")) == tmp_path / "a"


def test_a_tilde_that_is_a_name_stays_one_however_often_it_is_read() -> None:
    assert user_path("./~/a") == user_path(user_path("./~/a")) == Path.cwd() / "~" / "a"


def test_a_path_that_is_not_recorded_may_have_any_name() -> None:
    assert user_path("r\udcff", recorded=False) == Path("r\udcff")
    with pytest.raises(ConfigError, match=r"is no text in UTF-8"):
        user_path("r\ud800", recorded=False)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("~nobody-here/a", "--cache: '~nobody-here/a': there is no home folder ~nobody-here; write the whole path."),
        ("", "--cache: '': is empty, hence no path."),
        (5, "--cache: 5: is no path; give a text or a pathlib.Path."),
        (b"a", "--cache: b'a': is no path; give a text or a pathlib.Path."),
        ("a\0b", r"--cache: 'a\x00b': is no path, as it holds a zero byte."),
        ("r\udcff", r"--cache: 'r\udcff': is no text in UTF-8; rename it."),
    ],
)
def test_a_path_that_cannot_be_is_one_sentence(written: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        user_path(written, "--cache")
    assert str(refused.value) == sentence
