"""Pages of the site that are made from other files."""

from __future__ import annotations

import re

import pytest

from bts_tune.cli.main import all_parsers
from scripts.site_pages import DOCS, loaded_from_elsewhere, made_pages, source_of, with_site_links


@pytest.mark.parametrize(
    ("source", "link", "on_site"),
    [
        ("docs/data.md", "metrics.md", "metrics.md"),
        ("docs/data.md", "export.md#one-file", "export.md#one-file"),
        ("docs/data.md", "../results/README.md#columns", "run-folder.md#columns"),
        ("docs/data.md", "../CONTRIBUTING.md", "contributing.md"),
        ("docs/data.md", "../scripts/cluster/slurm.sh", "scripts/cluster/slurm.md"),
        ("docs/data.md", "examples/plugins/csv_tracker.py", "examples/plugins/csv_tracker.md"),
        ("docs/data.md", "https://optuna.org", "https://optuna.org"),
        ("docs/data.md", "#below", "#below"),
        ("CONTRIBUTING.md", "docs/examples/plugins", "extending.md"),
        ("results/README.md", "../docs/statistics.md", "statistics.md"),
        ("docs/examples/plugins/csv_tracker.md", "../../data.md", "../../data.md"),
    ],
)
def test_links_lead_to_pages_of_the_site(source: str, link: str, on_site: str) -> None:
    assert with_site_links(f"see [there]({link}).", source) == f"see [there]({on_site})."


def test_links_of_made_pages_are_those_of_their_sources() -> None:
    assert source_of("run-folder.md") == "results/README.md"
    assert source_of("data.md") == "docs/data.md"
    assert source_of("index.md") == "docs/index.md"


def test_every_page_that_a_link_names_is_there() -> None:
    made = dict(made_pages())
    for page in [*made, *(path.relative_to(DOCS).as_posix() for path in DOCS.glob("*.md"))]:
        text = made[page] if page in made else (DOCS / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", with_site_links(text, source_of(page))):
            target = (DOCS / page).parent.joinpath(link).resolve().relative_to(DOCS).as_posix()
            assert target in made or (DOCS / target).is_file(), f"{page}: {link}"


def test_the_help_of_every_command_is_a_section() -> None:
    text = dict(made_pages())["command-line.md"]
    assert re.findall(r"^## (.*)$", text, re.M) == list(all_parsers())


def test_a_page_that_loads_something_from_the_network_is_refused() -> None:
    assert loaded_from_elsewhere('<a href="https://optuna.org">') == []
    assert loaded_from_elsewhere('<script src="https://cdn.example/a.js"></script>') == ["https://cdn.example/a.js"]
    assert loaded_from_elsewhere("<link rel=stylesheet href=//fonts.example/a.css>") == ["//fonts.example/a.css"]
