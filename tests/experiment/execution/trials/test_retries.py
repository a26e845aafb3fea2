from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError

from bts_tune.experiment.execution.trials.retries import Fault, RetryPolicy, fault_of, is_unwritable


def test_a_process_that_dies_is_tried_again_as_often_as_it_may() -> None:
    policy = RetryPolicy(max_failures=2)
    died = Fault("died", "its process was killed")
    assert [policy.should_retry("a", died) for _ in range(3)] == [True, True, False]
    assert policy.should_retry("b", Fault("hung", "no epoch within 5 s"))
    assert policy.failed_attempts("a") == 3
    assert not RetryPolicy(max_failures=0).should_retry("a", died)


def test_a_trial_without_memory_gets_one_more_attempt_alone() -> None:
    policy = RetryPolicy(max_failures=0)
    full = Fault("oom", "out of GPU memory with batch_size 8")
    assert not policy.needs_all_resources("a")
    assert policy.should_retry("a", full)
    assert policy.needs_all_resources("a")
    assert not policy.needs_all_resources("b")
    assert not policy.should_retry("a", full)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "oom", "ran low on memory"),
        (ActorDiedError(), "died", "its process died"),
        (RuntimeError("Worker exits unexpectedly. Worker exits with an exit code 7."), "died", "exit code 7"),
        (RuntimeError("The actor died because its node has died. Node Id: 0a1b"), "died", "its node left the cluster"),
        (RuntimeError("its worker process has died. Worker exit type: SYSTEM_ERROR"), "died", "killed or crashed"),
        (RuntimeError(""), "died", "RuntimeError"),
    ],
)
def test_what_ray_says_of_a_death_becomes_a_reason(error: Exception, kind: str, reason: str) -> None:
    fault = fault_of(error)
    assert fault.kind == kind
    assert reason in fault.reason
    assert "\n" not in fault.reason


def test_a_full_disk_is_told_from_other_errors() -> None:
    assert is_unwritable(OSError(28, "No space left on device"))
    assert is_unwritable(RuntimeError("Error writing bytes to file. Detail: [errno 28] No space left on device"))
    assert not is_unwritable(OSError(2, "No such file or directory"))
    wrapped = RuntimeError("cannot save")
    wrapped.__cause__ = OSError(122, "Disk quota exceeded")
    assert is_unwritable(wrapped)
