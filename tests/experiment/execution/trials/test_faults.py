from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from bts_tune.experiment.execution.files.node_files import NodeFaultError
from bts_tune.experiment.execution.nodes.preflight import versions_here
from bts_tune.experiment.execution.trials.faults import (
    BrokenProcessError,
    is_of_this_node,
    node_faults,
    require_able_node,
    restore_on_node,
)


@pytest.mark.parametrize(
    ("error", "of_the_node"),
    [
        (OSError("no room"), True),
        (ImportError("no module named x"), True),
        (RuntimeError("No CUDA GPUs are available"), True),
        (ConnectionResetError(), False),
        (ValueError("no inverse"), False),
    ],
)
def test_what_lies_with_a_node(error: Exception, of_the_node: bool) -> None:
    assert is_of_this_node(error) == of_the_node
    with pytest.raises(BrokenProcessError if of_the_node else type(error)), node_faults():
        raise error


def test_a_fault_keeps_its_kind_and_its_reason_between_processes() -> None:
    with pytest.raises(BrokenProcessError) as raised, node_faults():
        raise NodeFaultError("it has no CUDA")
    read = pickle.loads(pickle.dumps(raised.value))
    assert (str(read), read.kind) == ("it has no CUDA", "node")


def test_a_node_with_another_version_is_refused() -> None:
    require_able_node(versions_here(), "cpu")
    with pytest.raises(NodeFaultError, match="torch"):
        require_able_node({**versions_here(), "torch": "0.1"}, "cpu")


def test_a_plugin_that_is_not_on_the_node_is_the_node_s_fault() -> None:
    restore_on_node([])
    with pytest.raises(NodeFaultError, match="nowhere"):
        restore_on_node([{"kind": "module", "name": "nowhere", "sha256": "0", "content": ""}])


def test_measuring_in_a_process_of_its_own_does_not_import_ray_tune() -> None:
    code = "import sys, bts_tune.experiment.execution.evaluation; sys.exit('ray.tune' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
