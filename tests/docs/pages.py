"""The documentation as tests read it: its pages, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)

PLACEHOLDERS = {"N": "3", "K": "5", "TIME": "2h"}
"""What stands for a number or a time in a command; names of files and folders stand for themselves."""


@dataclass(frozen=True)
class Block:
    """A block of code: its page, line and language, the text, and the comment in the line before it."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def not_run(self) -> str:
        """The reason why it is not run, or an empty text."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""

    def commands(self) -> list[list[str]]:
        """Return the words of each command; what is behind a pipe or an arrow, and variables, are left out."""
        found: list[list[str]] = []
        for line in self.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
            lexer.whitespace_split, lexer.commenters = True, "#"
            words: list[str] = []
            for word in [*lexer, "&&"]:
                if word in ("&&", "||", ";", "|", ">", "<"):
                    if words and not (found and found[-1] == ["|"]):
                        found.append(words)
                    words = []
                    if word in ("|", ">", "<"):
                        found.append(["|"])
                elif words or "=" not in word or word.startswith("-"):
                    words.append(PLACEHOLDERS.get(word, word.replace("…", "")))
            found = [one for one in found if one != ["|"]]
        return found


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page.relative_to(ROOT).as_posix(),
            text.count("\n", 0, match.start("text")),
            match["language"],
            match["text"],
            match["mark"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]
