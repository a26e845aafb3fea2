from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from bts_tune.experiment.execution.cluster.health_check import ClusterHealthCheck


def test_servers_that_answer_are_not_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        with ClusterHealthCheck([tcp.getsockname(), path], str, patience=2, grace=60) as check:
            assert not check.lost.wait(4)


def test_a_server_that_is_gone_is_noticed(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        began = time.monotonic()
        with ClusterHealthCheck([tcp.getsockname(), path], str, patience=1, grace=60) as check:
            assert check.lost.wait(30)
            assert time.monotonic() - began > 1
        assert time.monotonic() - began < 30, "leaving does not wait for the grace to pass"


def test_whoever_cannot_leave_is_ended_with_the_exit_message() -> None:
    program = (
        "import time; from bts_tune.experiment.execution.cluster.health_check import ClusterHealthCheck\n"
        "with ClusterHealthCheck(['/nowhere'], lambda: 'the cluster is gone', patience=1, grace=1):\n"
        "    time.sleep(600)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "the cluster is gone\n")
