"""Ray clusters of several nodes on this machine: real `ray start` processes on the loopback address."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest

_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
_ROOT = str(Path(__file__).parents[2])


def require_mount_namespaces() -> None:
    """Skip a test where folders cannot be hidden from a process."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here (unshare -m)")


class RayCluster:
    """A cluster whose nodes are added one by one. Use as a context manager; what it started is ended with it.

    Args:
        cpus: of the head's node.
        environment: of the head and of each node.
        dashboard: whether there is one, which `ray job submit` needs.
    """

    def __init__(
        self,
        cpus: int = 0,
        *,
        environment: dict[str, str] | None = None,
        dashboard: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))  # sockets are to have short paths
        self._port, self._dashboard_port = _free_port(), _free_port()
        self._environment = {"RAY_AUTH_MODE": "disabled", **(environment or {})}
        self._environment["PYTHONPATH"] = f"{self._environment.get('PYTHONPATH', '')}{os.pathsep}{_ROOT}".strip(
            os.pathsep
        )
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""
        self._head = [
            *("start", "--head", "--block", f"--num-cpus={cpus}", f"--port={self._port}"),
            *(f"--temp-dir={self._folder}/ray", f"--include-dashboard={str(dashboard).lower()}"),
            f"--dashboard-port={self._dashboard_port}",
            # The usual one may be another Ray's on this machine; without it, no job can be submitted.
            f"--dashboard-agent-listen-port={_free_port()}",
            *arguments,
        ]

    @property
    def dashboard(self) -> str:
        """The address that jobs are submitted to."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def temporary(self) -> Path:
        """The folder by which `--address auto` finds this cluster: give it as RAY_TMPDIR."""
        return self._folder

    def __enter__(self) -> RayCluster:
        self.head = self._start(self._head)
        current = self._folder / "ray" / "ray_current_cluster"
        self._wait(self.head, current.exists)
        self.address = current.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            self.stop(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(
        self,
        cpus: int = 1,
        *arguments: str,
        hide: Sequence[Path] = (),
        room: str = "1g",
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Add a node, and wait until the cluster has it.

        Args:
            cpus: of the node.
            arguments: of `ray start`.
            hide: folders that are empty to the node's processes.
            room: in each of those folders, as `mount` takes it.
            environment: of the node alone.
        """
        before = set(self.nodes())
        process = self._start(
            ["start", f"--address={self.address}", "--block", f"--num-cpus={cpus}", *arguments],
            hide=hide,
            room=room,
            environment=environment,
        )
        # Not by their number: one that was killed may be counted for a while.
        self._wait(process, lambda: set(self.nodes()) - before)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a node as if somebody had pulled its plug."""
        if process.poll() is None:
            for pid in [process.pid, *_below(process.pid)]:
                _kill(pid)
        process.wait(60)

    def _start(
        self,
        arguments: Sequence[str],
        *,
        hide: Sequence[Path] = (),
        room: str = "1g",
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        command = [*_RAY, *arguments]
        if hide:
            mounts = " && ".join(f"mount -t tmpfs -o size={room} none {shlex.quote(str(folder))}" for folder in hide)
            command = ["unshare", "-m", "sh", "-c", f"{mounts} && exec {shlex.join(command)}"]
        variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        process = subprocess.Popen(
            command,
            env={
                **variables,
                "RAY_TMPDIR": str(self._folder),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_memory_monitor_refresh_ms": "0",
                "OMP_WAIT_POLICY": "passive",
                **self._environment,
                **(environment or {}),
            },
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def nodes(self) -> list[str]:
        """Return Ray's ids of the nodes that are alive."""
        from ray._raylet import GcsClient  # type: ignore[attr-defined]

        nodes = GcsClient(address=self.address).get_all_node_info(timeout=10)
        return [node.node_id.hex() for node in nodes.values() if node.state == 0]

    def take_back(self, node: str, seconds: int) -> None:
        """Tell the cluster that a node will be gone in some seconds, as those who lend spot nodes do."""
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken back"]
        command = ["drain-node", "--address", self.address, "--node-id", node, *reason]
        subprocess.run(
            [*_RAY, *command, "--deadline-remaining-seconds", str(seconds)],
            env={**os.environ, **self._environment},
            check=True,
            capture_output=True,
        )

    def wait_for_jobs(self) -> None:
        """Wait until jobs can be submitted: some seconds after there is a dashboard."""
        deadline = time.monotonic() + 120
        while "succeeded" not in (said := self.job("submit", "--", "true")):
            assert time.monotonic() < deadline, said

    def job(self, verb: str | Path, *arguments: str | Path) -> str:
        """Run `ray job` with these arguments to its end, and return what it said."""
        return self.start_job(verb, *arguments).communicate(timeout=600)[0]

    def start_job(self, verb: str | Path, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `ray job`; its output and its errors are one text."""
        return subprocess.Popen(
            [*_RAY, "job", str(verb), "--address", self.dashboard, *map(str, arguments)],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _wait(self, process: subprocess.Popen[bytes], there: object) -> None:
        assert callable(there)
        deadline = time.monotonic() + 90
        while not there():
            assert process.poll() is None, "a node ended early"
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _below(parent: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
