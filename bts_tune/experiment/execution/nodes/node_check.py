"""What a node of a cluster is asked before anything is trained on it.

Ray sends this module to the node as it is, which may lack every package: nothing of it is imported from anywhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CUDA = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0) != 0)"


def inspect_versions(packages: Sequence[str], sources: Sequence[str]) -> dict[str, str]:
    """Return the versions here of Python and of some packages, and the hash of some source files of bts-tune."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in packages:
        try:
            found[package] = ".".join(importlib.metadata.version(package).partition("+")[0].split(".")[:2])
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    found["bts-tune"] = "none"
    with contextlib.suppress(ImportError, ValueError):
        if spec := importlib.util.find_spec("bts_tune"):
            found["bts-tune"] = _code(Path(next(iter(spec.submodule_search_locations or []))), sources)
    return found


def inspect_node(
    packages: Sequence[str], sources: Sequence[str], shared: Mapping[str, tuple[str, str]], *, cuda: bool
) -> dict[str, Any]:
    """Return what this node is like.

    Args:
        packages: whose versions are wanted.
        sources: patterns of the source files of bts-tune that have to be the same.
        shared: files of the driver, by what they show, each with its content: a node that reads the same shares it.
        cuda: whether to try CUDA.
    """
    found: dict[str, Any] = {"versions": inspect_versions(packages, sources)}
    found["shared"] = [what for what, (path, content) in shared.items() if reads(path, content)]
    found["free"] = shutil.disk_usage(tempfile.gettempdir()).free
    # In a process of its own: one that has begun with CUDA cannot be given other GPUs later.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    found["cuda"] = (
        not cuda
        or not subprocess.run(
            [sys.executable, "-c", _CUDA], env=environment, capture_output=True, check=False
        ).returncode
    )
    return found


def reads(path: str, content: str) -> bool:
    """Whether a file is here, with this content."""
    try:
        return Path(path).read_text() == content
    except (OSError, ValueError):
        return False


def _code(package: Path, sources: Sequence[str]) -> str:
    whole = hashlib.sha256()
    for file in sorted({file for pattern in sources for file in package.glob(pattern)}):
        whole.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()[:12]
