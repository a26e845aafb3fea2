"""The exit codes of the command line."""

EXIT_OK = 0
"""Done."""

EXIT_PROBLEM = 1
"""Something went wrong that is no mistake in the request: errors in a dataset, a named trial that failed."""

EXIT_USAGE = 2
"""A mistake in what was asked for."""

EXIT_INTERRUPTED = 130
"""Interrupted; what shells give a command that ended by Ctrl-C."""
