"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from bts_tune.errors import ConfigError
from bts_tune.text import quoted


def user_path(written: str | os.PathLike[str], where: str = "", *, recorded: bool = True) -> Path:
    """Return a path as a user means it: every path of an option, of an argument or in a file is read by this.

    A leading `~` or `~name` stands for a home folder, as in a shell; in `./~` it is a name.

    Args:
        written: the path.
        where: what it is given for, such as `--cache`; the error begins with it.
        recorded: whether it goes into a run's record, which holds text in UTF-8 alone; names of files are any bytes.

    Raises:
        ConfigError: it is no text and no path, or names nothing; it names the home folder of nobody, or holds a
            character that no path can hold, or what a record cannot.
    """
    text = os.fspath(written) if isinstance(written, os.PathLike) else written
    named = f"{where}: {quoted(text)}" if where else quoted(text)
    if not isinstance(text, str):
        raise ConfigError(f"{named}: is no path; give a text or a pathlib.Path.")
    if not text:
        raise ConfigError(f"{named}: is empty, hence no path.")
    if "\0" in text:
        raise ConfigError(f"{named}: is no path, as it holds a zero byte.")
    try:
        text.encode(errors="strict" if recorded else "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(f"{named}: is no text in UTF-8; rename it.") from None
    path = Path(text)
    if not text.startswith("~"):
        # A path forgets a leading './'; who reads it a second time must not take the name for a home folder.
        return path.absolute() if str(path).startswith("~") else path
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{named}: there is no home folder {path.parts[0]}; write the whole path.") from None
