"""The help of commands: examples at its end, and lines that fit the terminal, however narrow."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable

_AT_MOST_BESIDE = 44
"""An example that is longer has what it does on the next line."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples; one that does not fit goes on below, indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for one in text.splitlines() for line in fitted(one, width))

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        """Break a usage of our own between its forms, and where it is too long."""
        text = super()._format_usage(usage, actions, groups, prefix)
        if usage is None:
            if max(map(len, text.splitlines())) <= self._width:
                return text
            return "\n".join(_wrapped(" ".join(text.split()), self._width, " " * len("usage: "), "")) + "\n\n"
        forms = text.removeprefix("usage: ").strip().split(" | ")
        lines = [line for form in forms for line in _wrapped(form, self._width - len("usage: "), "  ", "")]
        return "usage: " + "\n       ".join(lines) + "\n\n"


def fitted(line: str, width: int) -> list[str]:
    """Return a line as lines of at most `width`: what stands behind two spaces moves below what stands before."""
    if len(line) <= width:
        return [line]
    match = re.match(r"(\s*)(\S.*?)\s{2,}(\S.*)", line)
    if match is None:
        indent = line[: len(line) - len(line.lstrip())]
        return _wrapped(line.strip(), width, indent + "    " * bool(indent), indent)
    indent, first, second = match.groups()
    return [*_wrapped(first, width, indent + "    ", indent), *_wrapped(second, width, indent + "    ")]


def _wrapped(text: str, width: int, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def add_examples(parser: argparse.ArgumentParser, examples: dict[str, str]) -> None:
    """Set the examples at the end of a command's help: each command and what it does."""
    parser.formatter_class = HelpFormatter
    width = max((len(command) for command in examples if len(command) <= _AT_MOST_BESIDE), default=0)
    lines = ["examples:"]
    for command, text in examples.items():
        if len(command) <= _AT_MOST_BESIDE or not text:
            lines.append(f"  {command:<{width}}  {text}".rstrip())
        else:
            lines += [f"  {command}", f"      {text}"]
    parser.epilog = "\n".join(lines)
