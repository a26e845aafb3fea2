"""Errors that a user can mend. The command line prints their one sentence and no traceback."""

from bts_tune.exit_codes import EXIT_PROBLEM, EXIT_USAGE


class BtsTuneError(Exception):
    """A user's mistake or a missing thing; the message is one clear sentence.

    The sentence says what is wrong, where (file, field, value) and what is allowed.
    """

    exit_code = EXIT_USAGE


class ConfigError(BtsTuneError):
    """A trial configuration, an override or a search space is wrong."""


class DataError(BtsTuneError):
    """A dataset or an image cannot be used."""


class BrokenDatasetError(DataError):
    """A dataset was checked and has errors, which are listed."""

    exit_code = EXIT_PROBLEM


class WeightsError(BtsTuneError):
    """Encoder weights cannot be had."""


class RunError(BtsTuneError):
    """A run folder cannot be created, read or resumed."""


class RunStoppedError(RunError):
    """A run had to end early through no fault of its trials; what it recorded is intact, and it can be resumed."""

    exit_code = EXIT_PROBLEM


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ' Did you mean …?' for the known words closest to `word`, or an empty string."""
    import difflib

    if len(word) > _LONGEST_TYPED:  # nobody's slip of the finger, and comparing takes the square of its length
        return ""

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


_LONGEST_TYPED = 100


def quoted(value: object, limit: int = 80) -> str:
    """Return `repr(value)`, cut short: what stands in a file may be of any size."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a huge {type(value).__name__}"
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]} …"


def printable(text: str) -> str:
    """Return `text` with line breaks, terminal commands and bytes that are no UTF-8 escaped, as in `\\n`."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's kind where it has none; it ends in one full stop."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)  # else in quotes
    return (message.strip() or type(error).__name__).splitlines()[0][:300].rstrip(".") + "."
