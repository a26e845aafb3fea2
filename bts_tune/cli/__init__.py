"""The command line: one module a command, each of which adds its arguments to a parser and sets its action."""
