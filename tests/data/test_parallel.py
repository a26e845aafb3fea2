from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bts_tune.data.parallel import available_cpus, parallel_map


def test_results_are_in_the_order_of_the_items() -> None:
    last = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert last.wait(10)
        if item == 1:
            last.set()
        return item * item

    assert parallel_map(work, [0, 1, 2, 3], workers=2) == [0, 1, 4, 9]


def test_progress_counts_up_to_all_items() -> None:
    seen: list[tuple[int, int]] = []
    parallel_map(str, [1, 2, 3], workers=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_first_exception_drops_what_has_not_begun() -> None:
    begun = 0

    def work(item: int) -> None:
        nonlocal begun
        begun += 1
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        parallel_map(work, range(10_000), workers=1)
    assert begun < 10_000


def test_few_items_wait_however_many_there_are() -> None:
    """What waits takes memory: of a hundred thousand images, all of it at once would be hundreds of MiB."""
    asked = 0

    class Items(list[int]):
        def __iter__(self) -> Iterator[int]:
            nonlocal asked
            for item in range(10_000):
                asked += 1
                yield item

        def __len__(self) -> int:
            return 10_000

    ahead: list[int] = []
    results = parallel_map(str, Items(), workers=2, progress=lambda done, _: ahead.append(asked - done))
    assert results[-1] == "9999"
    assert max(ahead) < 100


def test_nothing_to_do() -> None:
    assert parallel_map(str, []) == []
    assert available_cpus() >= 1
