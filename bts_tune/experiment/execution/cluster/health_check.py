"""Notices that a Ray cluster is gone. Ray itself retries for a minute and then ends this process from within C++."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

# Together less than the minute after which Ray ends the process: a head that is restarted has the first for it, and
# whoever waits for Ray has the second to leave.
PATIENCE = 15.0
GRACE = 30.0

_EVERY = 1.0

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""


class ClusterHealthCheck:
    """Tries every second whether the cluster's servers can be connected to. Use as a context manager.

    `lost` is set when one of them could not for `PATIENCE` seconds. Whoever holds this should then leave it; where a
    call into Ray blocks and keeps them, the process ends after `GRACE` more seconds, with exit code 1.

    Args:
        servers: addresses of the head's server and of this node's.
        exit_message: returns what is printed on standard error before the process ends like that.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        exit_message: Callable[[], str],
        *,
        patience: float = PATIENCE,
        grace: float = GRACE,
    ) -> None:
        self.lost = threading.Event()
        self._servers, self._exit_message, self._patience, self._grace = servers, exit_message, patience, grace
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._check, name="cluster-health-check", daemon=True)

    def __enter__(self) -> ClusterHealthCheck:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def _check(self) -> None:
        seen = time.monotonic()
        while not self._left.wait(_EVERY):
            if all(map(_answers, self._servers)):
                seen = time.monotonic()
            elif time.monotonic() - seen > self._patience:
                break
        else:
            return
        self.lost.set()
        if not self._left.wait(self._grace):
            print(self._exit_message(), file=sys.stderr, flush=True)
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(1)


def _answers(address: Address) -> bool:
    try:
        if isinstance(address, tuple):
            socket.create_connection(address, timeout=_EVERY).close()
        else:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_EVERY)
                connection.connect(address)
    except OSError:
        return False
    return True
