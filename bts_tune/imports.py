"""Where this process and those that it starts may import from: the installed environment, and what PYTHONPATH names."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGE = Path(__file__).parent
"""The folder of this package."""


def leave_out_working_folder() -> None:
    """Import nothing from the folder that the command is given in, which may be a dataset's.

    `python -m` puts that folder first, and so does an empty entry of PYTHONPATH, which `PYTHONPATH=$PYTHONPATH:…`
    leaves. Processes that are started from here on find the same entries wherever they work.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    named = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    try:
        here = os.getcwd()
    except OSError:  # it is gone, and holds nothing
        here = ""
    library = os.path.dirname(os.__file__)
    first = sys.path.index(library) if library in sys.path else 0
    # What stands after the library is installed, as the checkout of an editable install is.
    sys.path[:first] = [entry for entry in sys.path[:first] if entry not in ("", here) or entry in named]
    if PathFinder.find_spec("bts_tune") is None:
        # A checkout that is not installed, run from its own folder.
        package = os.path.abspath(PACKAGE.parent)
        named.append(package)
        sys.path.append(package)
    if named or "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
