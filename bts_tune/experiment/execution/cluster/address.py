"""Which Ray cluster is meant, and whether it answers and lets us in: found out in seconds, before Ray tries it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.errors import ConfigError, RunError
from bts_tune.text import first_line

AUTO = "auto"
LOCAL = "local"

_PATIENCE = 5.0  # seconds, with a cluster that is to answer

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")

_FORM = "HOST:PORT of the cluster's head (Ray's usual port is 6379), 'auto' or 'local'"


def in_submitted_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the driver of a job that `ray job submit` began."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in environment


def cluster_address(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the address of the cluster that is meant, 'auto', or None for a Ray of the run's own.

    `RAY_ADDRESS` alone decides nothing, but for a submitted job, which Ray runs on the cluster that it was given to.

    Raises:
        ConfigError: it is none that a run can use; the sentence says which form can.
    """
    if given is None:
        return environment.get("RAY_ADDRESS", AUTO) if in_submitted_job(environment) else None
    if given == LOCAL:
        return None
    if given == AUTO:
        return AUTO
    if given.startswith("ray://"):
        raise ConfigError(
            f"--address {given}: is the address of a Ray client, and a run needs the cluster itself; start bts-tune "
            f"on a machine of the cluster, or send it there with 'ray job submit'. Allowed are {_FORM}."
        )
    if given.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address {given}: is the address of a dashboard; give it to 'ray job submit --address {given} -- "
            f"bts-tune …', or start bts-tune on a machine of the cluster; allowed are {_FORM}."
        )
    match = _HOST_PORT.fullmatch(given)
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise ConfigError(f"--address {given}: must be {_FORM}.")
    return given


def ignored_address(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return a sentence where RAY_ADDRESS is set and does not decide; else an empty text."""
    named = environment.get("RAY_ADDRESS")
    if not named or given == AUTO or (given is None and in_submitted_job(environment)):
        return ""
    if given is None:
        return "RAY_ADDRESS is ignored: without --address, a run starts a Ray of its own."
    return "" if given == named else f"RAY_ADDRESS is ignored: --address {given} is given."


def found_address(address: str) -> str:
    """Return HOST:PORT of the cluster: 'auto' is the one that RAY_ADDRESS names, or that runs on this machine.

    Raises:
        RunError: there is none, or it does not answer within seconds.
    """
    found = address
    if address == AUTO:
        from ray._private.services import canonicalize_bootstrap_address

        log = logging.getLogger("ray._private.services")
        level = log.level
        try:
            log.setLevel(logging.ERROR)  # of several it warns in its own words; the run says which one it is
            found = str(canonicalize_bootstrap_address(AUTO))
        except Exception as error:
            raise RunError(
                f"--address auto: no Ray cluster is found on this machine ({first_line(error).rstrip('.')}); start one "
                "with 'ray start', or give HOST:PORT of its head."
            ) from None
        finally:
            log.setLevel(level)
    host, port = _split(found)
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        which = f"--address {address}" + (f", which is {found}" if found != address else "")
        raise RunError(
            f"{which}: no Ray cluster answers there ({error.strerror or first_line(error) or 'timed out'}); allowed "
            f"are {_FORM}."
        ) from None
    return found


def is_protected(address: str) -> bool:
    """Ask the cluster whether it lets in only who has its token, and whether the one at hand is.

    Ray itself would find out in 20 s of retries. A token must not be sent where none is asked for: Ray then expects one
    from the cluster in turn, and ends every actor.

    Raises:
        RunError: it is protected, and no token or another one is at hand; or it is of another version of Ray.
    """
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return False
    try:
        import grpc  # type: ignore[import-untyped]
        from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
        from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    except ImportError:  # not public; without it, Ray finds out itself
        return False
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:

        def ask(token: str | None) -> Any:
            metadata = [("authorization", f"Bearer {token}")] if token else []
            stub = NodeInfoGcsServiceStub(channel)
            try:
                return stub.CheckAlive(CheckAliveRequest(), timeout=_PATIENCE, metadata=metadata)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                    return None
                raise RunError(
                    f"--address {address}: something answers there, but it is no head of a Ray cluster "
                    f"({error.code().name.lower()}); allowed are {_FORM}."
                ) from None

        answer, protected = ask(None), False
        if answer is None:
            token = None if mode == "disabled" else _token()
            answer, protected = ask(token) if token else None, True
            if answer is None:
                what = "is protected, and does not take the token that is at hand" if token else "is protected"
                raise RunError(
                    f"--address {address}: the Ray cluster {what}; set RAY_AUTH_MODE=token and give its token in "
                    "RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token."
                )
        elif mode == "token":
            raise RunError(
                f"--address {address}: the Ray cluster is not protected, and RAY_AUTH_MODE=token asks for one that is; "
                "start the cluster with a token, or unset RAY_AUTH_MODE."
            )
    import ray

    if answer.ray_version and answer.ray_version != ray.__version__:
        raise RunError(
            f"--address {address}: the cluster runs Ray {answer.ray_version}, and here is {ray.__version__}; install "
            "the same version on both."
        )
    return protected


def _token() -> str | None:
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    with contextlib.suppress(OSError, RuntimeError):
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        return (Path(named) if named else Path.home() / ".ray" / "auth_token").read_text().strip() or None
    return None


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
