from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts_tune.data.files import leads_out, open_file, read_file
from bts_tune.errors import DataError


def test_files_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00abc")
    assert read_file(tmp_path / "a") == b"\x00abc"


@pytest.mark.timeout(10)
def test_a_pipe_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is not a regular file"):
        open_file(tmp_path / "pipe")


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(DataError, match="/dev/zero: is not a regular file"):
        read_file(Path("/dev/zero"))


def test_a_gigantic_file_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 2**40)
    with pytest.raises(DataError, match="has 1099511627776 bytes"):
        read_file(tmp_path / "a")


def test_links_in_a_loop_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not leads_out(tmp_path, tmp_path / "a")
    with pytest.raises(DataError, match="Too many levels of symbolic links"):
        read_file(tmp_path / "a")


def test_what_leads_out_of_a_folder_is_told_from_what_only_looks_like_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "below" / "file").touch()
    (root / "within").symlink_to("below")
    (root / "out").symlink_to("../outside")
    (tmp_path / "link").symlink_to("root")
    assert not leads_out(root, root / "below" / "file")
    assert not leads_out(root, root / "within" / "file")
    assert not leads_out(tmp_path / "link", tmp_path / "link" / "below" / "file")
    assert leads_out(root, root / "out" / "file")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        open_file(tmp_path / "nowhere")
    with pytest.raises(DataError, match="Is a directory"):
        read_file(tmp_path)
