"""Another user of this machine, whose processes may read and write what that user may."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_NOBODY = 65534


@dataclass(frozen=True)
class AnotherUser:
    """A user who owns nothing of this one's.

    Attributes:
        program: what to write before a command that is to be theirs.
        common: a folder that they can read and cannot write to.
        home: a folder of their own.
    """

    program: list[str]
    common: Path
    home: Path


@contextmanager
def another_user() -> Iterator[AnotherUser]:
    """Yield another user; skip the test where there can be none."""
    become = f"exec setpriv --reuid={_NOBODY} --regid={_NOBODY} --clear-groups"
    folder = Path(tempfile.mkdtemp(prefix="bts-common-"))  # those of pytest are closed to others
    try:
        program = ["unshare", "-m", "sh", "-c", f'{_open_python(folder)}{become} "$@"', "sh"]
        common, home = folder / "common", folder / "home"
        folder.chmod(0o755)
        common.mkdir()
        home.mkdir()
        # An environment in a closed folder shows others the checkout, which is on the path, and no package.
        look = "import bts_tune, importlib.util as util; assert all(map(util.find_spec, ('cv2', 'ray', 'torch')))"
        there = [*program, sys.executable, "-c", look]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        if os.getuid() or subprocess.run(there, capture_output=True, cwd="/", env=environment, check=False).returncode:
            pytest.skip("no other user can be had here, or Python and this code are closed to others")
        os.chown(home, _NOBODY, _NOBODY)
        yield AnotherUser(program, common, home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_python(folder: Path) -> str:
    """Return the commands that show Python to a user who may not look into the folder that it is installed in."""
    python = Path(sys.base_prefix)
    closed = [parent for parent in reversed(python.parents) if not parent.stat().st_mode & 0o001]
    if not closed:
        return ""
    seen = folder / "python"
    seen.mkdir()
    real, seen_as, top = (shlex.quote(str(path)) for path in (python, seen, closed[0]))
    return (
        f"mount --bind {real} {seen_as} && mount -t tmpfs -o mode=755 none {top} && mkdir -p {real} && "
        f"mount --move {seen_as} {real} && "
    )
