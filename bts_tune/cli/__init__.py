"""The command line: a parser that is given the commands, and what they have in common."""
