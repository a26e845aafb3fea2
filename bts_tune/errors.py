"""Errors that a user can mend. The command line prints their one sentence and no traceback."""


class BtsTuneError(Exception):
    """A user's mistake or a missing thing; the message is one clear sentence.

    The sentence says what is wrong, where (file, field, value) and what is allowed.
    """

    exit_code = 2


class ConfigError(BtsTuneError):
    """A trial configuration, an override or a search space is wrong."""


class DataError(BtsTuneError):
    """A dataset or an image cannot be used."""


class BrokenDatasetError(DataError):
    """A dataset was checked and has errors, which are listed."""

    exit_code = 1


class WeightsError(BtsTuneError):
    """Encoder weights cannot be had."""


class RunError(BtsTuneError):
    """A run folder cannot be created, read or resumed."""


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ' Did you mean …?' for the known words closest to `word`, or an empty string."""
    import difflib

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
