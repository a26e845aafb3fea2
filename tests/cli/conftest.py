"""A small dataset, an empty folder to work in, and the sentence with which the command refuses its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bts_tune import plugins, registry
from bts_tune.cli.main import main
from bts_tune.data.synthetic.phantom import write_phantom


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 20 slices; tests leave it as it is."""
    root = tmp_path_factory.mktemp("cli") / "phantom"
    write_phantom(root, count=20, image_size=48, slices_per_patient=2, workers=1)
    return root


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the command is given in, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns the one sentence with which the command refuses its arguments, without having begun a run."""

    def refuse(*arguments: str | Path) -> str:
        before = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        assert code == 2
        assert captured.err.startswith("bts-tune")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")} == before
        return captured.err

    return refuse


@pytest.fixture
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Forgets the plugins that were loaded, now where it is called, and after the test."""
    monkeypatch.setattr(plugins, "_loaded", {})

    def forget() -> None:
        plugins._loaded.clear()
        for table in vars(registry).values():
            if isinstance(table, registry.Registry):
                for name in table.registered():
                    if table.is_plugin(name):
                        del table._entries[name]

    yield forget
    forget()
