"""A Ray of the run's own, started by a thread of its own, so that the run can look at its dataset meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

from bts_tune.data.parallel import available_cpus
from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.address import cluster_address, ignored_address
from bts_tune.experiment.execution.nodes import alive_nodes
from bts_tune.experiment.execution.ray_environment import environment_variables, isolated_start
from bts_tune.experiment.execution.resources import allocate
from bts_tune.experiment.planning.options import RunOptions

MOST_WARM = 4
"""Most processes that import what training needs before there is a trial for them."""

_CLONE_FS = 0x200


class OwnRay:
    """Ray on this machine. Making one starts it; the environment variables of a run are the caller's.

    Args:
        options: what to show, and whether there is a dashboard.
        trials: how many trials there are to run; as many processes, or fewer, make ready for them.
        alone: whether this thread has nothing else to do meanwhile.
    """

    def __init__(self, options: RunOptions, *, trials: int = 0, alone: bool = False) -> None:
        self._options, self._trials = options, trials
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
        self._warm_up()
        return context

    def _init(self) -> Any:
        import ray

        # 'local': neither a cluster that RAY_ADDRESS names nor one that somebody else runs here.
        return ray.init(
            address="local",
            num_cpus=available_cpus(),
            include_dashboard=self._options.dashboard,
            dashboard_host="127.0.0.1",
            **init_options(self._options),
        )

    def _warm_up(self) -> None:
        """Have as many processes as there will be trials at a time import what training needs.

        On CPUs alone: a process that looked for GPUs before it was given one might keep to those that it saw.
        """
        import ray

        if not self._trials:
            return
        try:
            resources = allocate(self._options, nodes=alive_nodes(), trials=self._trials)
        except ConfigError:  # the run will say so
            return
        if resources.gpus:
            return
        task = ray.remote(_import_training).options(
            name="warm-up", num_cpus=resources.cpus, max_retries=0, runtime_env=environment_of_trials()
        )
        for _ in range(min(resources.concurrent, MOST_WARM)):
            task.remote()


def init_options(options: RunOptions) -> dict[str, Any]:
    """Return what any `ray.init` of a run is given."""
    return {
        "log_to_driver": options.verbose,
        "logging_level": logging.INFO if options.verbose else logging.ERROR,
        "namespace": "bts-tune",
    }


@contextlib.contextmanager
def starting_ray(options: RunOptions, trials: int) -> Iterator[OwnRay | None]:
    """Begin to start the Ray of a new run, and end it where the run has not taken it over; None where it has none.

    Args:
        options: of the run.
        trials: how many trials it has.
    """
    if cluster_address(options.address) is not None or ignored_address(options.address):
        yield None
        return
    with environment_variables(options):
        ray = OwnRay(options, trials=trials)
        try:
            yield ray
        finally:
            ray.stop()


def environment_of_trials() -> dict[str, Any]:
    """Return the runtime environment that Ray Tune gives to trials.

    Ray hands a process on only to what has the same: one made ready in another environment is of no use to a trial,
    which then imports all of it once more.
    """
    try:
        # Not public; without it, trials import for themselves.
        from ray.tune.execution.class_cache import DEFAULT_ENV_VARS, ENV_VARS_TO_PROPAGATE
    except ImportError:
        return {}
    handed_on = {name: os.environ[name] for name in ENV_VARS_TO_PROPAGATE if name in os.environ}
    return {"env_vars": {**DEFAULT_ENV_VARS, **handed_on}}


def _own_working_folder() -> bool:
    """Give this thread a working folder of its own; return whether the system can."""
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    return unshare is not None and unshare(_CLONE_FS) == 0


def _import_training() -> None:
    import segmentation_models_pytorch  # noqa: F401

    from bts_tune.experiment.execution import trainable  # noqa: F401
    from bts_tune.training import loop  # noqa: F401
