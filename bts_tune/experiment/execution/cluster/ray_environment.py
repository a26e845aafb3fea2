"""The environment in which Ray starts the processes of a run: variables, working folder, temporary files."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bts_tune.errors import RunError
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.imports import PACKAGE

LOW_PRIORITY = 15
"""What `--polite` adds to the nice value of trials; Ray's own default."""

NO_CODE = PACKAGE / "no_code"
"""A folder that is there wherever the package is, and holds nothing that can be imported."""

_SOCKET_PATH_LIMIT = 107  # bytes, of Linux
_LONGEST_BELOW_TMPDIR = len("/ray/session_2030-12-31_23-59-59_999999_4194304/sockets/plasma_store")
_LONGEST_TMPDIR = _SOCKET_PATH_LIMIT - _LONGEST_BELOW_TMPDIR
# What is made in them is refused where somebody else could write to it.
_SHORT_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")  # nosec B108

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # Tune ends the whole experiment where Ray's monitor ends a process for lack of memory. The kernel takes the same
    # processes first, by the score that Ray gives them, and that is a death like any other, after which others go on.
    "RAY_memory_monitor_refresh_ms": "0",
    # Nothing reads Tune's own state, and to write it Tune keeps each trial as JSON, to the end of the run.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # Threads that wait for each other by spinning lose most where another program wants the same cores.
    "OMP_WAIT_POLICY": "passive",
}


@contextlib.contextmanager
def environment_variables(options: RunOptions, address: str | None = None) -> Iterator[None]:
    """Set the environment variables of a run's processes until the end; what the user has set wins where it can.

    Args:
        options: the priority of trials, and how many start at a time.
        address: of the cluster; None for a Ray of the run's own.

    Raises:
        RunError: there is no folder for Ray's temporary files.
    """
    changes: dict[str, str | None] = dict(_VARIABLES)
    if options.autoscaling and options.concurrent is not None:
        # An autoscaler adds nodes for what waits for them, all of it at once.
        changes["TUNE_MAX_PENDING_TRIALS_PG"] = str(options.concurrent)
    if address is None:
        changes["RAY_worker_niceness"] = str(LOW_PRIORITY if options.polite else 0)
        # Otherwise Ray starts a process for each core at once, which trials do not use, and ends it after a second.
        changes["RAY_prestart_worker_first_driver"] = "0"
        changes |= _token(os.environ)
    changes = {name: value for name, value in changes.items() if name not in os.environ}
    if address is None:
        # The variable of a submitted job would have Ray set up that job's working folder once more, in a cluster that
        # does not have it.
        own = {"RAY_ADDRESS": None, "RAY_JOB_CONFIG_JSON_ENV_VAR": None}
        changes |= {**own, **_temporary_folder(os.environ)}
    else:
        changes |= {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE")}  # set for the connection, and put back
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def isolated_start() -> Iterator[None]:
    """Start processes in a folder without code, and where a terminal that is closed does not end them.

    Ray's processes import first of all from the folder that `ray.init` is called in. Were that a dataset's, a file of
    it that is called like any module would run in every trial. What SIGHUP does is this process's to decide; blocked
    here, it waits until the processes have started.
    """
    here = os.open(".", os.O_PATH)  # by descriptor, since the folder may be gone by now, or not be readable
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        os.chdir(NO_CODE)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _temporary_folder(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name another folder for temporary files where the usual one cannot be used.

    The path of a socket is limited, for Ray's as for those of Python's `multiprocessing`, and batch systems like to
    name a long folder.
    """
    usual = environment.get("TMPDIR", _SHORT_FOLDERS[0])
    folder = environment.get("RAY_TMPDIR")
    if folder is not None:
        if _too_long(folder):
            raise RunError(
                f"RAY_TMPDIR={folder}: too long for the paths of Ray's sockets; at most {_LONGEST_TMPDIR} bytes are "
                "allowed."
            )
        return {"TMPDIR": folder} if _too_long(usual) else {}
    ray = os.path.join(usual, "ray")
    if os.access(ray if os.path.exists(ray) else usual, os.W_OK | os.X_OK) and not _too_long(usual):
        return {}
    folder = str(_private_folder())
    return {"TMPDIR": folder, "RAY_TMPDIR": folder}


def _too_long(folder: str) -> bool:
    return len(os.fsencode(os.path.abspath(folder))) > _LONGEST_TMPDIR


def _token(environment: Mapping[str, str]) -> dict[str, str]:
    """See that Ray has a token; return the variable that names its file, where there can be none in the home folder.

    Ray makes one itself, but not in one step: of two runs that begin at once, one would have processes with either.
    """
    given = any(name in environment for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or environment.get("RAY_AUTH_MODE") == "disabled":
        return {}
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home folder
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        _make_token(folder / "auth_token")
        return {}
    path = _private_folder() / "auth_token"
    _make_token(path)
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


def _make_token(path: Path) -> None:
    """Write a new token for Ray, whole and readable by its owner alone, unless there is one.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists():
        return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".auth_token-") as part:
        part.write(secrets.token_hex(32))
        part.flush()
        with contextlib.suppress(FileExistsError):
            os.link(part.name, path)


def _private_folder() -> Path:
    """Return a folder with a short path that nobody else may write to.

    Raises:
        RunError: there is none, and none can be made.
    """
    for parent in _SHORT_FOLDERS:
        folder = Path(parent) / f"bts-{os.getuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            private = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o022
            if stat.S_ISDIR(found.st_mode) and private and os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise RunError(
        f"there is no folder for Ray's temporary files: none of {', '.join(_SHORT_FOLDERS)} can be written to; name "
        f"one of at most {_LONGEST_TMPDIR} bytes with the environment variable RAY_TMPDIR."
    )
