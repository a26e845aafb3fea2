"""Imports inside `bts_tune.experiment` go one way, and never in a circle, those inside functions included."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import bts_tune

ROOT = Path(bts_tune.__file__).parent
EXPERIMENT = "bts_tune.experiment"

MAY_IMPORT = {
    "planning": {"planning"},
    "search": {"planning", "search"},
    "callbacks": {"planning", "callbacks"},
    "execution": {"planning", "search", "callbacks", "execution"},
}


def imports(file: Path, modules: set[str]) -> set[str]:
    """Return the modules of ours that a file imports when it runs."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                found.add(f"{node.module}.{name.name}")
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found & modules


def graph() -> dict[str, set[str]]:
    files = {".".join(("bts_tune", *file.relative_to(ROOT).with_suffix("").parts)): file for file in ROOT.rglob("*.py")}
    files = {name: file for name, file in files.items() if not name.endswith("__init__")}
    return {name: imports(file, set(files)) for name, file in files.items()}


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({name: found for name, found in graph().items() if name.startswith(EXPERIMENT)}).prepare()


def test_packages_import_only_what_lies_below_them() -> None:
    for name, found in graph().items():
        for package, allowed in MAY_IMPORT.items():
            if name.startswith(f"{EXPERIMENT}.{package}."):
                inside = {other.split(".")[2] for other in found if other.startswith(f"{EXPERIMENT}.")}
                assert inside <= allowed, f"{name} imports from {inside - allowed}"


def test_only_experiment_imports_ray_tune() -> None:
    for file in ROOT.rglob("*.py"):
        if "experiment" not in file.relative_to(ROOT).parts:
            text = file.read_text(encoding="utf-8")
            assert "ray.tune" not in text, file
            assert "from ray import tune" not in text, file
