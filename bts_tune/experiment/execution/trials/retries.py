"""What becomes of a trial whose process died, hung or ran out of memory: whether it is retried, and how.

A trial's process can die of what has nothing to do with the trial: someone else's memory, a node that leaves, a signal.
So it is retried from its own checkpoint, `--max-failures` times. An error that Python raised inside the trial is
not such a fault: every epoch follows from the seed, so it would only happen again. What a node of a cluster
lacks is not counted at all.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from bts_tune.text import last_line

FaultKind = Literal["died", "hung", "oom", "node", "taken", "failed"]

_NOT_CHARGED = ("node", "taken")

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_UNWRITABLE_WORDS = tuple(os.strerror(number) for number in sorted(_UNWRITABLE))


@dataclass(frozen=True)
class Fault:
    """Why an attempt at a trial ended before the trial did.

    Attributes:
        kind: its process died, it hung, it ran out of memory, its node cannot train it, its node was taken back with
            notice, or it failed as it would again.
        reason: the same in words, without a full stop.
    """

    kind: FaultKind
    reason: str


class RetryPolicy:
    """Decides whether a trial is retried, by its faults so far in this process; a resumed run counts anew."""

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._faults: dict[str, Counter[str]] = {}

    def should_retry(self, trial: str, fault: Fault) -> bool:
        """Count a fault; return whether the trial is retried.

        A trial that ran out of memory gets one more attempt, alone, whatever `max_failures` is: what it lacked may
        have been in the hands of its neighbours. What is wrong with a node, or takes it away with notice, is not the
        trial's: it goes on elsewhere.
        """
        counted = self._faults.setdefault(trial, Counter())
        counted[fault.kind] += 1
        if fault.kind == "failed":
            return False
        if fault.kind in _NOT_CHARGED:
            return True
        if fault.kind == "oom":
            return counted["oom"] == 1
        return counted["died"] + counted["hung"] <= self._max_failures

    def needs_all_resources(self, trial: str) -> bool:
        """Whether the trial's next attempt must have a whole GPU, or all cores, for itself."""
        return self._faults.get(trial, Counter())["oom"] > 0

    def failed_attempts(self, trial: str) -> int:
        """Return how many attempts at a trial have failed."""
        return sum(self._faults.get(trial, Counter()).values())

    def charged_attempts(self, trial: str) -> int:
        """Return how many of them failed by what was not their node's."""
        faults = self._faults.get(trial, Counter())
        return self.failed_attempts(trial) - sum(faults[kind] for kind in _NOT_CHARGED)


def fault_of(error: BaseException) -> Fault:
    """Read from Ray's error what a trial's process died of. Ray tells an exit code, but not a signal."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "running low on memory" in text:
        return Fault("oom", "Ray ended its process because the machine ran low on memory")
    if re.search(r"node (?:has )?died|node .*(?:terminated|preempted|dead)|NodeDied", text):
        return Fault("died", "its node left the cluster")
    if code := re.search(r"exit code (-?\d+)", text):
        return Fault("died", f"its process ended itself with exit code {code.group(1)}")
    if "connection error code" in text or "worker process has died" in text:
        return Fault("died", "its process was killed or crashed; Ray knows no more")
    return Fault("died", f"its process died: {last_line(error).removesuffix('.')}")


def is_unwritable(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that a file system is full, over its quota or read-only."""
    while error is not None:
        # Arrow and PyTorch tell it in words alone.
        if getattr(error, "errno", None) in _UNWRITABLE or any(words in str(error) for words in _UNWRITABLE_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
