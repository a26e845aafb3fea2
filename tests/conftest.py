"""What holds for the process of all tests."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# Threads that wait for each other in a loop would take the cores from the tests beside; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Without a deadline: how long an example takes is a matter of what else the machine does.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")

_LONG = [Path(__file__).parent / name for name in ("experiment", "api", "export")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is alone with one at the end."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(long) for long in _LONG))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, and leave them and what they import out of all later collections.

    Each trial that is closed collects garbage, and would look through all of it: a third of a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test survives a power cut, and waiting for the disk is an eighth of the time of those that write records.

    Processes that a test starts wait for it, as those of users do.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Returns a folder of this name that is made once for all processes of a session; to be left as it is."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # of all workers

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, whole = session / name, session / f"{name}.made"
        with FileLock(session / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                whole.touch()
        return folder

    return once
