"""The layout of the package: imports go down, never up and never in a circle, and every module is tested."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bts_tune"

# An import goes down this list. `testing` may import whatever it tests.
ROOMS = (
    "testing",
    "__main__",
    "cli",
    "__init__",
    "api",
    "experiment",
    "export",
    "report",
    "training",
    "models",
    "losses",
    "metrics",
    "augmentation",
    "data",
    "results",
    "space",
    "plugins",
    "config",
    "registry",
    "paths",
    "errors",
    "text",
    "imports",
    "progress_bar",
    "console",
    "version",
)


def modules() -> dict[str, Path]:
    return {
        ".".join(("bts_tune", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path: Path, known: dict[str, Path], *, at_run_time: bool = True) -> Iterator[tuple[str, int]]:
    """Yield the modules of the package that a file imports, functions included, with the line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if at_run_time and id(node) in typing_only:
            continue
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{one.name}" for one in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name, node.lineno  # type: ignore[attr-defined]


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_no_import_goes_up() -> None:
    known = modules()
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {other}"
        for module, path in known.items()
        for other, line in imports(path, known)
        if ROOMS.index(room(other)) < ROOMS.index(room(module))
    ]
    assert not found, "\n".join(found)


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in modules()} == set(ROOMS)


INNER_ROOMS = {
    "experiment.execution": ("trials", "cluster", "files", "nodes"),
    "data": ("checks", "splits", "scan", "synthetic", "readers", "layout", "volumes", "prepared"),
    "results": ("storage", "benchmark", "statistics", "ranking", "record"),
}
"""The folders of large rooms, from above down. Modules beside them may be of any height."""


@pytest.mark.parametrize("outer", INNER_ROOMS)
def test_no_import_goes_up_within_a_room(outer: str) -> None:
    known, rooms, package = modules(), INNER_ROOMS[outer], f"bts_tune.{outer}."

    def inner(module: str) -> str | None:
        parts = module.removeprefix(package).split(".")
        return parts[0] if module.startswith(package) and len(parts) > 1 else None

    assert {inner(module) for module in known} - {None} == set(rooms)
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {other}"
        for module, path in known.items()
        for other, line in imports(path, known)
        if (above := inner(other)) and (below := inner(module)) and rooms.index(above) < rooms.index(below)
    ]
    assert not found, "\n".join(found)


def test_what_tells_the_course_of_a_run_is_above_what_does_it() -> None:
    known, execution = modules(), "bts_tune.experiment.execution."
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {other}"
        for module, path in known.items()
        for other, line in imports(path, known)
        if module.startswith(execution) and module.count(".") > execution.count(".")
        if other.startswith(execution) and other.count(".") == execution.count(".")
    ]
    assert not found, "\n".join(found)


def test_no_circle() -> None:
    """Imports for type checkers alone count too: whoever reads one file of a circle must read them all."""
    known = modules()
    graph = {
        module: {other for other, _ in imports(path, known, at_run_time=False)} - {module}
        for module, path in known.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [
        (("report", "results", "space", "config", "registry", "plugins"), ("torch", "ray")),
        (("data",), ("torch", "ray")),
        (("export", "training", "models", "losses", "metrics", "augmentation"), ("ray",)),
    ],
)
def test_rooms_without_torch_or_ray(rooms: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    """Importing every module of a room imports none of the packages that it must do without."""
    names = [module for module in modules() if room(module) in rooms]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += f"sys.exit(' '.join({{*{forbidden!r}}} & {{*sys.modules}}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_has_its_tests() -> None:
    """`bts_tune/losses/focal.py` is tested by `tests/losses/test_focal.py`; a private module with those that use it."""
    root = PACKAGE.parent
    missing = []
    for path in modules().values():
        inner = path.relative_to(PACKAGE)
        if path.name.startswith("_"):
            continue
        if not (root / "tests" / inner.parent / f"test_{path.name}").is_file():
            missing.append(path.relative_to(root).as_posix())
    assert not missing, f"{len(missing)} modules without a test file at the mirrored path: {', '.join(missing)}"


def test_the_driver_of_a_run_imports_no_torch() -> None:
    """It takes seconds, which the user of a warm cache would wait for."""
    code = "import sys; import bts_tune.experiment.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
