"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from bts_tune.errors import ConfigError
from bts_tune.text import quoted


def user_path(written: str | Path, where: str = "") -> Path:
    """Return a path whose leading `~` or `~name` stands for a home folder, as in a shell.

    Args:
        written: the path.
        where: what it is given for, such as `--cache`; the error begins with it.

    Raises:
        ConfigError: it names the home folder of nobody, or holds a character that no path can hold, or no
            UTF-8.
    """
    named = f"{where}: {quoted(str(written))}" if where else quoted(str(written))
    if "\0" in str(written):
        raise ConfigError(f"{named}: is no path, as it holds a zero byte.")
    try:
        str(written).encode()
    except UnicodeEncodeError:  # the run records it
        raise ConfigError(f"{named}: is no text in UTF-8; rename it.") from None
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise ConfigError(f"{named}: there is no home folder {home}; write the whole path.") from None
