"""Nothing is imported from the folder that a process was started in, unless PYTHONPATH names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.imports import leave_out_working_folder

CHECKOUT = Path(__file__).parents[1]

REPORT = """
import json, os, sys
sys.path.append({checkout!r})  # as an editable install stands: after the library
{prepare}
from bts_tune.imports import leave_out_working_folder
leave_out_working_folder()
print(json.dumps([sys.path, os.environ.get("PYTHONPATH"), os.environ.get("PYTHONSAFEPATH")]))
"""


def paths(
    folder: Path, *, pythonpath: str | None = None, prepare: str = ""
) -> tuple[list[str], str | None, str | None]:
    """Return sys.path, PYTHONPATH and PYTHONSAFEPATH of a process that was started in `folder` and has left it out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if pythonpath is not None:
        environment["PYTHONPATH"] = pythonpath
    source = REPORT.format(checkout=str(CHECKOUT), prepare=prepare)
    done = subprocess.run([sys.executable, "-c", source], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, variable, safe = json.loads(done.stdout)
    return found, variable, safe


def test_the_folder_that_the_process_is_in_is_left_out(tmp_path: Path) -> None:
    """`python -c` and `python -m` put it first."""
    found, variable, safe = paths(tmp_path)
    assert "" not in found
    assert str(tmp_path) not in found
    assert safe == "1"
    assert variable is None


def test_what_pythonpath_names_stays(tmp_path: Path) -> None:
    own, here = tmp_path / "own", tmp_path / "here"
    own.mkdir()
    here.mkdir()
    found, variable, _ = paths(here, pythonpath=str(own))
    assert str(own) in found
    assert variable == str(own)
    # Named by name, the folder is meant.
    found, variable, _ = paths(here, pythonpath=os.pathsep.join([str(own), str(here)]))
    assert [entry for entry in found if entry.startswith(str(tmp_path))] == [str(own), str(here)]
    assert variable == os.pathsep.join([str(own), str(here)])


def test_an_empty_entry_of_pythonpath_is_dropped(tmp_path: Path) -> None:
    """`PYTHONPATH=$PYTHONPATH:own` leaves one, which Python takes for the working folder."""
    own, here = tmp_path / "own", tmp_path / "here"
    own.mkdir()
    here.mkdir()
    found, variable, _ = paths(here, pythonpath=f":{own}:")
    assert str(here) not in found
    assert "" not in found
    assert variable == str(own)


def test_a_relative_entry_of_pythonpath_still_means_the_same_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    _, variable, _ = paths(tmp_path, pythonpath="own")
    assert variable == str(tmp_path / "own")


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    found, _, safe = paths(gone, prepare="os.rmdir(os.getcwd())")
    assert "" not in found
    assert safe == "1"


def test_a_checkout_is_found_from_its_own_folder(tmp_path: Path) -> None:
    """A package that is not installed is imported from the working folder alone; processes that follow must find it."""
    package = tmp_path / "bts_tune"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "imports.py").write_text((CHECKOUT / "bts_tune" / "imports.py").read_text())
    code = (
        "import json, os, sys; from bts_tune.imports import leave_out_working_folder; leave_out_working_folder()\n"
        "import importlib.util as util; print(json.dumps([util.find_spec('bts_tune').origin, sys.path[-1], "
        "os.environ['PYTHONPATH']]))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # -S: without the environment's own packages, where bts_tune may be installed.
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    origin, last, variable = json.loads(done.stdout)
    assert Path(origin) == package / "__init__.py"
    assert last == variable == str(tmp_path)


def test_it_may_be_called_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    leave_out_working_folder()
    once = list(sys.path)
    leave_out_working_folder()
    assert sys.path == once
