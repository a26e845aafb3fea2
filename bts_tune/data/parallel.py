"""One way to spread work on files over threads.

Threads rather than processes: reading, hashing (`hashlib`), decoding and resizing (OpenCV) release the interpreter's
lock, and no array has to be copied between processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

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
    pool = ThreadPoolExecutor(max_workers=workers or available_cpus())
    try:
        for result in pool.map(function, items):
            results.append(result)
            if progress is not None:
                progress(len(results), len(items))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results
