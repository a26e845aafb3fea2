from __future__ import annotations

import os
from pathlib import Path

import pytest

from bts_tune.data.files import files_below, leads_out, open_file, read_file
from bts_tune.data.parallel import parallel_map
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


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2145\nsize 12345\n", "git lfs pull"),
        ("/annex/objects/SHA256E-s12345--4d7a2145.png\n", "git annex get"),
    ],
)
def test_what_stands_for_a_file_that_was_not_fetched_is_refused_with_the_cure(
    tmp_path: Path, content: str, cure: str
) -> None:
    (tmp_path / "a.png").write_text(content)
    with pytest.raises(DataError, match=rf"a\.png: stands for a file that was not fetched; run '{cure}"):
        open_file(tmp_path / "a.png")


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


def test_what_lies_elsewhere_is_not_opened_in_other_threads_either(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "out").symlink_to("../secret")
    (root / "own").write_bytes(b"own")
    (root / "within").symlink_to("own")
    assert read_file(root / "out") == b"secret"
    with files_below(root):
        assert parallel_map(read_file, [root / "own", root / "within"], workers=2) == [b"own", b"own"]
        for name in (root / "out", tmp_path / "secret", root / ".." / "secret"):
            with pytest.raises(DataError, match="link that leads out of the dataset's folder, and what lies there is"):
                parallel_map(read_file, [name], workers=2)
    assert read_file(root / "out") == b"secret"
