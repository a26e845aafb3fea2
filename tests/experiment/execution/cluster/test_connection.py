from __future__ import annotations

import socket

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.cluster.connection import connected, dashboard_hint, lost_sentence
from bts_tune.experiment.planning.options import RunOptions


def test_a_cluster_that_is_gone_is_one_sentence_with_the_way_on() -> None:
    sentence = lost_sentence("bts-tune --resume results/a")
    assert sentence.endswith("Go on with: bts-tune --resume results/a")
    assert "\n" not in sentence


def test_an_address_where_nobody_listens_is_refused_in_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = RunOptions.parse({"space": "baseline", "address": address})
    with pytest.raises(RunError, match=f"--address {address}") as caught, connected(options, resume=str):
        pass
    assert "\n" not in str(caught.value)


def test_the_dashboard_is_told_with_what_it_takes_to_see_it() -> None:
    url = "http://127.0.0.1:8265"
    assert dashboard_hint(url, protected=False, environment={}) == f"Ray dashboard: {url}"
    own = dashboard_hint(url, protected=True, environment={})
    assert own == f"Ray dashboard: {url} (it asks for a token: ray get-auth-token)"
    assert dashboard_hint(url, protected=True, environment={"RAY_AUTH_MODE": "disabled"}).endswith(url)
    named = dashboard_hint(url, protected=True, environment={"RAY_AUTH_TOKEN_PATH": "/a b"})
    assert "RAY_AUTH_TOKEN_PATH='/a b' ray get-auth-token" in named
    far = dashboard_hint(url, protected=False, environment={"SSH_CONNECTION": "192.0.2.7 5022 192.0.2.9 22"})
    assert far.endswith(
        "; on the machine with your browser: ssh -N -L 8265:127.0.0.1:8265 192.0.2.9, then http://127.0.0.1:8265"
    )
