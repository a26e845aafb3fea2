"""The commands of the command line, one a module: each adds its arguments to a parser, and sets its action."""
