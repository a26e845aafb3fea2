"""Every command and every Python example of the documentation is run, or says why it is not.

`DIR` in a command is a folder of phantoms, `RUN` and `OTHER` are small runs. Commands that would train are carried out
with `--dry-run --no-timing`. Where a block stands behind `<!-- not run: reason -->`, its commands are still parsed, so
that every option in it is one that there is.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

import bts_tune
from bts_tune.cli.main import all_parsers, main, parse
from bts_tune.experiment.planning.options import RunOptions, declarations
from bts_tune.space import load_space
from bts_tune.testing.exports import example_data, example_run, validation_images
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.forgetting import forget_plugins

ALL = [block for page in PAGES for block in blocks(page)]
RUN_PAGES = sorted({block.page for block in ALL if block.language in ("sh", "bash", "python") and not block.not_run})
TRAINS = ("resume", "extend")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whatever the commands of the documentation name."""
    home = tmp_path_factory.mktemp("documented")
    shutil.copytree(example_data(), home / "DIR")
    for name in ("RUN", "OTHER"):
        shutil.copytree(example_run().path, home / "results" / name)
    (home / "IMAGES").mkdir()
    for number, image in enumerate(validation_images()[:1, 0]):
        assert cv2.imwrite(str(home / "IMAGES" / f"{number}.png"), image)
    shutil.copy(home / "IMAGES" / "0.png", home / "scan.png")
    names = [record.name for record in bts_tune.open_dataset(home / "DIR")]
    lines = [f"{name},{re.sub('_.*', '', name.rpartition('/')[2])}" for name in names]
    (home / "patients.csv").write_text("\n".join(["file,patient", *lines]) + "\n")
    (home / "my_space.yaml").write_text(whole_space().text)
    (home / "weights").mkdir()
    return home


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("BTS_TUNE_CACHE", str(home.parent / "cache"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten after it."""
    forget_plugins(monkeypatch)


def whole_space() -> Block:
    """Return the space file that docs/search-spaces.md shows."""
    return next(block for block in ALL if block.page == "docs/search-spaces.md" and block.language == "yaml")


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


def commands_of(page: str) -> Iterator[tuple[Block, list[str]]]:
    for block in ALL:
        if block.page == page and block.language in ("sh", "bash"):
            for words in block.commands():
                yield block, words


@pytest.mark.parametrize("page", sorted({block.page for block in ALL}))
def test_every_command_is_one_that_there_is(page: str) -> None:
    for block, words in commands_of(page):
        if words[0] == "bts-tune":
            assert ends_with(words[1:]) == 0, f"{where(block)}: {' '.join(words)}"
        elif words[:1] == ["python"] and words[1].startswith("scripts/"):
            unknown = [word for word in words if word.startswith("--") and f'"{word}"' not in source_of(words[1])]
            assert not unknown, f"{where(block)}: {words[1]} has no {', '.join(unknown)}"
        elif words[:2] == ["pip", "install"]:
            for extras in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
                assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), where(block)
        elif words[0] not in ("pip", "pytest", "ruff", "mypy", "python", ".ci/run"):
            assert block.not_run, f"{where(block)}: put '<!-- not run: reason -->' before it: {' '.join(words)}"


@pytest.mark.parametrize("page", RUN_PAGES)
def test_every_example_runs(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    for block in ALL:
        if block.page != page or block.not_run:
            continue
        if block.language == "python":
            if page != "docs/export.md":  # these load what its commands write: test_export.py
                exec(compile(block.text, where(block), "exec"), names)
        elif block.language in ("sh", "bash"):
            for words in block.commands():
                if words[0] == "bts-tune":
                    run_command(block, words[1:], capsys)


def source_of(script: str) -> str:
    """Return the code of a script, and of those that it imports."""
    code = (ROOT / script).read_text(encoding="utf-8")
    return code + "".join(
        source_of(f"scripts/{name}.py") for name in re.findall(r"^from scripts\.(\w+) import", code, re.M)
    )


def ends_with(arguments: list[str]) -> object:
    """Return the exit code of reading a command line; 0 also where it can be read."""
    try:
        parse(arguments)
    except SystemExit as ended:
        return ended.code
    return 0


def run_command(block: Block, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parsed = parse(arguments)
    trains = any(getattr(parsed, name, None) for name in TRAINS) or arguments[0] == "final"
    assert not trains, f"{where(block)}: trains; put '<!-- not run: trains -->' before it: {' '.join(arguments)}"
    if arguments[0].startswith("-"):
        arguments = [*arguments, "--dry-run", "--no-timing"]
    code = main(arguments)
    said = capsys.readouterr()
    assert code == 0, f"{where(block)}: {' '.join(arguments)}\n{said.out}{said.err}"


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "python"], ids=where)
def test_every_python_example_uses_names_that_are_there(block: Block) -> None:
    """Those that are not run, too."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "bt":
            assert node.attr in bts_tune.__all__
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tune":
            known = {*inspect.signature(bts_tune.tune).parameters, *declarations()}
            assert {keyword.arg for keyword in node.keywords} <= known


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "yaml"], ids=where)
def test_every_space_can_be_loaded(block: Block, tmp_path: Path) -> None:
    if not block.not_run:
        head = "" if block.text.startswith("name:") else "name: part\ndescription: A part of a space.\n"
        (tmp_path / "space.yaml").write_text(head + block.text)
        load_space(str(tmp_path / "space.yaml")).resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_the_text_are_there(page: Path) -> None:
    """Of the command, or of a script or another program that the same page names."""
    known = {option for parser in all_parsers().values() for option in options_of(parser)}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py"))
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    ours = [span for span in spans if span.startswith(("-", "bts-tune "))]
    used = {option for span in ours for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    unknown = sorted(option for option in used - known if f'"{option}"' not in sources)
    assert not unknown, f"{page.name}: no command has {', '.join(unknown)}"


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


def test_every_option_of_a_run_is_an_argument_of_the_api() -> None:
    """As the page on the API says."""
    assert set(declarations()) == set(inspect.signature(RunOptions).parameters)
