"""SIGTERM, which batch systems and container engines send, ends a run as Ctrl-C does; so does a closed terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any


def ending_signals() -> list[signal.Signals]:
    """Return the signals beside Ctrl-C that end a run: SIGTERM, and SIGHUP unless it is ignored, as under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGHUP]


def terminal_closed() -> None:
    """Go on without a terminal: a second SIGHUP, which shells send, does nothing, and what is printed goes nowhere.

    Files go on being written; whoever reads a pipe is likely to be ended by the same signal.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if not os.isatty(descriptor) and not stat.S_ISREG(os.fstat(descriptor).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def restore(handlers: Mapping[int, Any]) -> None:
    """Set handlers again as they were, but for that of a SIGHUP that has come."""
    for number, handler in handlers.items():
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Raise a KeyboardInterrupt on SIGTERM and SIGHUP.

    Ray takes SIGTERM over: enter this again when it started or ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            terminal_closed()
        signal.default_int_handler(number, frame)

    previous: dict[int, Any] = {number: signal.signal(number, interrupt) for number in ending_signals()}
    try:
        yield
    finally:
        restore(previous)


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Yield an event that the first signal that ends a run sets; the second has the effect that it has without this."""
    requested = threading.Event()
    previous: dict[int, Any] = {}

    def request(number: int, _frame: object) -> None:
        requested.set()
        if number == signal.SIGHUP:
            terminal_closed()
        restore(previous)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ending_signals()):
            previous[number] = signal.signal(number, request)
    try:
        yield requested
    finally:
        restore(previous)
