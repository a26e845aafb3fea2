"""One way to spread work on files over threads.

Threads rather than processes: reading, hashing (`hashlib`), decoding and resizing (OpenCV) release the interpreter's
lock, and no array has to be copied between processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 16
"""Items a thread that wait for it: enough to keep it busy, and not all of a large dataset's, which take memory."""

Progress = Callable[[int, int], None]
"""Called with how many items are done and how many there are."""


def available_cpus() -> int:
    """Return the number of CPU cores that this process may use, which a container or `taskset` can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Return `function` of every item, in the order of the items.

    Args:
        function: called in a thread.
        items: what to call it with.
        workers: number of threads; by default one a core.
        progress: called in the calling thread, after each item.

    The first exception ends the work: what has not begun is dropped, so that a mistake or Ctrl-C is answered at once.
    """
    results: list[Result] = []
    pending: deque[Future[Result]] = deque()
    workers = workers or available_cpus()
    pool = ThreadPoolExecutor(max_workers=workers)

    def take() -> None:
        results.append(pending.popleft().result())
        if progress is not None:
            progress(len(results), len(items))

    try:
        # What holds where the work is asked for, such as `files_below`, holds where it is done; each item has a context
        # of its own, as one cannot be entered twice at once.
        context = copy_context()
        for item in items:
            pending.append(pool.submit(context.copy().run, function, item))
            if len(pending) > _AHEAD * workers:
                take()
        while pending:
            take()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results
