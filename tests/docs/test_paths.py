"""What a document or a comment names as a file of the project is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    ROOT / "results" / "README.md",
    ROOT / "pyproject.toml",
]
NAMED = re.compile(r"(?<![\w/.])((?:tests|bts_tune|scripts|docs|search_spaces)/[\w./-]*\.(?:py|md|sh|yaml|png|ipynb))")
LINKED = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_that_is_named_is_there(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    missing = [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in LINKED.findall(text) if not (file.parent / name).exists()]
    assert not missing, f"{file.name}: {', '.join(missing)}"


def test_every_dependency_names_the_file_that_needs_it() -> None:
    """Behind each dependency stand files of the package, which import it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("]\n\n[project.optional-dependencies]")]
    for line in block.splitlines()[1:]:
        if "#" not in line or not line.strip().startswith('"'):
            continue
        for name in re.findall(r"[\w/]+\.py|[\w/]+/(?=[,;:\s]|$)", line.partition("#")[2]):
            assert (ROOT / "bts_tune" / name).exists(), line.strip()
