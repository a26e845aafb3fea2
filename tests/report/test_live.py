"""The page of a run that goes on: by processes of its own, in its share of the time, and no longer than the run."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.report.live import GOES_ON, SHARE, LivePage
from bts_tune.report.write import write_page, write_report
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_baselines, make_run, write_run


def going_on(path: Path) -> RunFolder:
    """A run whose process, this one, is still there."""
    folder = write_run(path, make_baselines(epochs=2), make_run(status="running"))
    (path / "owner.json").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    return folder


def test_the_page_is_there_from_the_start(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", make_run(status="running"))
    with LivePage(folder) as live:
        text = live.page.read_text()
        assert live.page == folder.path / "report.html"
    assert "The run has begun." in text
    assert 'data-live="60"' in text


def test_an_earlier_page_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", make_run(status="running"))
    (folder.path / "report.html").write_text("earlier")
    with LivePage(folder) as live:
        assert live.page.read_text() == "earlier"


def test_a_process_of_its_own_makes_it_anew_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = going_on(tmp_path / "run")
    before = {file.name for file in folder.path.iterdir()}
    times = itertools.chain([0.0], itertools.repeat(1000.0))  # as if the run had gone on for long
    with LivePage(folder, interval=0.1, clock=lambda: next(times)) as live:
        for _ in range(1200):
            if 'id="ranking"' in live.page.read_text():
                break
            time.sleep(0.1)
        text = live.page.read_text()
    assert "unet-b0-frozen" in text
    assert GOES_ON in text
    assert {file.name for file in folder.path.iterdir()} == before | {"report.html"}


def test_a_page_that_is_being_made_ends_with_the_run(tmp_path: Path) -> None:
    folder = going_on(tmp_path / "run")
    began = time.monotonic()
    with LivePage(folder, interval=0.0, clock=lambda: 1e6 * (time.monotonic() - began)) as live:
        time.sleep(0.5)
    assert not live.busy
    assert not list(folder.path.glob("*.part"))
    assert not list(folder.path.glob(".*.part"))


@pytest.mark.parametrize(("spent", "last"), [(0.0, 6.0), (6.0, 9.0), (300.0, 40.0)])
def test_all_pages_together_stay_below_their_share(tmp_path: Path, spent: float, last: float) -> None:
    live = LivePage(RunFolder(tmp_path), interval=180.0, clock=lambda: 1000.0)
    due = live._due(0.0, spent, last)
    assert due >= 1180.0
    assert (spent + last) / due <= SHARE * 1.0001


def test_the_page_alone_is_written_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    assert main(["report", str(folder.path), "--page-only"]) == 0
    assert capsys.readouterr().out.strip() == str(folder.path / "report.html")
    assert not (folder.path / "report.md").exists()
    alone = (folder.path / "report.html").read_text()
    assert write_report(folder).page.read_text() == alone


def test_only_the_page_of_a_run_that_goes_on_reloads(tmp_path: Path) -> None:
    folder = going_on(tmp_path / "run")
    assert 'data-live="60"' in write_page(folder).read_text()
    folder.update_run(status="complete")
    assert "data-live=" not in write_page(folder).read_text().split("<script>")[0]
    killed = going_on(tmp_path / "killed")
    (killed.path / "owner.json").write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 - 3}))
    assert "data-live=" not in write_page(killed).read_text().split("<script>")[0]
