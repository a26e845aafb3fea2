from __future__ import annotations

import socket

import pytest

from bts_tune.errors import RunError
from bts_tune.experiment.execution.cluster import connected, lost_sentence
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
