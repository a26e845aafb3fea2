"""One command a module, each of which adds its arguments to a parser and sets its action."""
