"""A Ray of the run's own, started by a thread of its own, so that the run can look at its dataset meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
from collections.abc import Iterator
from typing import Any

from bts_tune import __version__
from bts_tune.data.parallel import available_cpus
from bts_tune.experiment.execution.address import cluster_address, ignored_address
from bts_tune.experiment.execution.ray_environment import environment_variables, isolated_start
from bts_tune.experiment.planning.options import RunOptions

_CLONE_FS = 0x200


class OwnRay:
    """Ray on this machine. Making one starts it; the environment variables of a run are the caller's.

    Args:
        options: what to show, and whether there is a dashboard.
        run: what Ray's list of jobs calls it.
        alone: whether this thread has nothing else to do meanwhile.
    """

    def __init__(self, options: RunOptions, run: str, *, alone: bool = False) -> None:
        self._options, self._run_name = options, run
        self._ready, self._over = threading.Event(), threading.Event()
        self._context: Any = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        if not alone:
            self._thread = threading.Thread(target=self._run, name="ray", daemon=True)
            self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it has started, or failed to."""
        return self._thread is None or self._ready.is_set()

    def wait(self) -> Any:
        """Return what `ray.init` returned, when it has.

        Raises:
            Exception: Ray could not be started.
        """
        if self._thread is not None:
            self._ready.wait()
        if self._error is not None:
            raise self._error
        if self._context is None:
            self._context = self._started()
        return self._context

    def stop(self) -> None:
        """End Ray, as soon as it has started; again does nothing."""
        import ray

        if self._thread is not None:
            self._ready.wait()
        ray.shutdown()  # of a start that failed, some processes may be there already
        self._over.set()

    def _run(self) -> None:
        try:
            # The folder that Ray is started in must be this thread's alone: others open files meanwhile.
            if _own_working_folder():
                self._context = self._started()
        except BaseException as error:  # for whoever waits
            self._error = error
        self._ready.set()
        # Linux ends Ray's processes when the thread ends that started them.
        self._over.wait()

    def _started(self) -> Any:
        import ray

        with isolated_start():
            try:
                context = self._init()
            except Exception:
                # Ray gives its own processes 30 seconds, which a machine that is busy for a moment may not hold.
                ray.shutdown()
                context = self._init()
        return context

    def _init(self) -> Any:
        import ray

        # 'local': neither a cluster that RAY_ADDRESS names nor one that somebody else runs here.
        return ray.init(
            address="local",
            num_cpus=available_cpus(),
            include_dashboard=self._options.dashboard,
            dashboard_host="127.0.0.1",
            **init_options(self._options, self._run_name),
        )


def init_options(options: RunOptions, run: str) -> dict[str, Any]:
    """Return what any `ray.init` of a run is given, which Ray's list of jobs calls by the run's name."""
    from ray.job_config import JobConfig

    return {
        "log_to_driver": options.verbose,
        "logging_level": logging.INFO if options.verbose else logging.ERROR,
        "namespace": "bts-tune",
        "job_config": JobConfig(metadata={"job_name": run, "bts_tune": __version__}),
    }


@contextlib.contextmanager
def starting_ray(options: RunOptions, run: str) -> Iterator[OwnRay | None]:
    """Begin to start the Ray of a new run, and end it where the run has not taken it over; None where it has none.

    Args:
        options: of the run.
        run: its name.
    """
    if cluster_address(options.address) is not None or ignored_address(options.address):
        yield None
        return
    with environment_variables(options):
        ray = OwnRay(options, run)
        try:
            yield ray
        finally:
            ray.stop()


def _own_working_folder() -> bool:
    """Give this thread a working folder of its own; return whether the system can."""
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    return unshare is not None and unshare(_CLONE_FS) == 0
