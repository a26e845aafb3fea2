"""Errors that a user can mend, and the exit codes of the command line, which prints their one sentence."""

EXIT_OK = 0
"""Done."""

EXIT_PROBLEM = 1
"""Something went wrong that is no mistake in the request: errors in a dataset, a named trial that failed."""

EXIT_USAGE = 2
"""A mistake in what was asked for."""

EXIT_INTERRUPTED = 130
"""Interrupted; what shells give a command that ended by Ctrl-C."""


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


class MissingWeightsError(WeightsError):
    """Encoder weights are not here and cannot be downloaded; everything about them is right."""


class RunError(BtsTuneError):
    """A run folder cannot be created, read or resumed."""


class RunStoppedError(RunError):
    """A run had to end early through no fault of its trials; what it recorded is intact, and it can be resumed."""

    exit_code = EXIT_PROBLEM
