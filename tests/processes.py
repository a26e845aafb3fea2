"""Processes that begin with the libraries of a run imported."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

_PRELOADED = ["tests.preloaded", "tests.experiment.execution.trials.test_trainable"]


def forking() -> ForkServerContext:
    """Return the context whose processes are forked from one that has imported what a run needs, and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context
