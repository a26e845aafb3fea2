from __future__ import annotations

import socket

import pytest

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.execution.cluster.address import (
    cluster_address,
    found_address,
    ignored_address,
    is_protected,
)

JOB = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_ADDRESS": "10.0.0.1:6379"}


@pytest.mark.parametrize(
    ("given", "environment", "meant"),
    [
        (None, {}, None),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, None),
        (None, JOB, "10.0.0.1:6379"),
        ("local", JOB, None),
        ("auto", {}, "auto"),
        ("head:6379", JOB, "head:6379"),
        ("[::1]:6379", {}, "[::1]:6379"),
    ],
)
def test_which_cluster_is_meant(given: str | None, environment: dict[str, str], meant: str | None) -> None:
    assert cluster_address(given, environment) == meant


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("ray://head:10001", "is the address of a Ray client"),
        ("http://head:8265", "'ray job submit --address http://head:8265"),
        ("https://head", "is the address of a dashboard"),
        ("head", "must be HOST:PORT"),
        ("head:0", "must be HOST:PORT"),
        ("head:70000", "must be HOST:PORT"),
        ("", "must be HOST:PORT"),
        ("two words:1", "must be HOST:PORT"),
    ],
)
def test_another_form_is_refused_with_the_right_one(given: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster_address(given, {})
    assert sentence in str(caught.value)
    assert "HOST:PORT" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_ray_address_does_not_decide_is_said() -> None:
    named = {"RAY_ADDRESS": "10.0.0.1:6379"}
    assert "starts a Ray of its own" in ignored_address(None, named)
    assert "--address head:6379 is given" in ignored_address("head:6379", named)
    assert ignored_address(None, {}) == ignored_address("auto", named) == ignored_address(None, JOB) == ""


def test_nobody_at_an_address_is_one_sentence_within_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RunError, match=f"^--address {address}: no Ray cluster answers there"):
        found_address(address)


def test_somebody_else_at_an_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert found_address(address) == address
        with pytest.raises(RunError, match="it is no head of a Ray cluster"):
            is_protected(address)
