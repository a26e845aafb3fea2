"""The files for clusters: what they would start is what `ray` and `bts-tune` take."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bts_tune.cli.main import _run_parser
from bts_tune.experiment.callbacks.ray_metrics import GAUGES
from bts_tune.experiment.execution.cluster.address import cluster_address
from bts_tune.experiment.execution.nodes.node import Node
from bts_tune.experiment.execution.nodes.resources import allocate
from bts_tune.experiment.planning.options import RunOptions

FOLDER = Path(__file__).parents[2] / "scripts" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
RUN = ["--space", "extended", "--data", "/shared/slices", "--results", "/shared/my results", "--name", "mine"]


def dry_run(script: str, *arguments: str, **environment: str) -> list[list[str]]:
    """Return the commands that a script would run."""
    done = subprocess.run(
        ["bash", str(FOLDER / script), *arguments],
        env={"PATH": os.environ["PATH"], "DRY_RUN": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [shlex.split(line) for line in done.stdout.splitlines() if line.endswith(" ")]


def require_ray_takes(command: list[str]) -> None:
    """Let `ray start` parse its options, without starting anything."""
    from ray.scripts.scripts import start

    assert command[:2] == ["ray", "start"]
    start.make_context("start", command[2:])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_whole_and_can_be_executed(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)


def test_slurm_starts_a_head_the_other_nodes_and_the_run() -> None:
    slurm = {"SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_ID": "7"}
    commands = dry_run("slurm.sh", *RUN, **slurm)
    (head,) = [one for one in commands if "--head" in one]
    (others,) = [one for one in commands if one[0] == "srun"]
    (run,) = [one for one in commands if one[0] == "bts-tune"]
    for command in (head, others[others.index("ray") :]):
        require_ray_takes(command)
        assert {"--num-cpus=8", "--num-gpus=2"} <= set(command)
    assert {"--nodes=3", "--ntasks=3", "--block"} <= set(others)
    parsed = _run_parser().parse_args(run[1:])
    assert (parsed.space, parsed.results, parsed.name) == ("extended", Path("/shared/my results"), "mine")
    assert cluster_address(parsed.address) == parsed.address
    assert f"--address={parsed.address}" in others


def test_slurm_with_one_node_starts_no_others() -> None:
    assert [one[0] for one in dry_run("slurm.sh", *RUN, SLURM_JOB_NUM_NODES="1")] == ["ray", "bts-tune"]


def test_workstations_start_a_head_and_join_it() -> None:
    for arguments in (["head"], ["node", "first:6379"]):
        (command,) = dry_run("workstations.sh", *arguments)
        require_ray_takes(command)
    assert "--address=first:6379" in command


@pytest.mark.parametrize("arguments", [[], ["node"], ["head", "more"], ["other"]])
def test_workstations_refuse_another_command(arguments: list[str]) -> None:
    done = subprocess.run(["bash", str(FOLDER / "workstations.sh"), *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage:")


@pytest.fixture
def job() -> dict[str, Any]:
    """The Kubernetes job."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    return content


def test_the_kubernetes_job_is_a_ray_job_whose_groups_hold_one_container_each(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"}
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"] for volume in group["template"]["spec"].get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_trials_of_the_kubernetes_job_fit_its_workers(job: dict[str, Any]) -> None:
    command = shlex.split(job["spec"]["entrypoint"])
    assert command[0] == "bts-tune"
    parsed = _run_parser().parse_args(command[1:])
    names = ("space", "autoscaling", "concurrent", "cpus_per_trial", "gpus_per_trial")
    options = RunOptions.parse({name: getattr(parsed, name) for name in names})
    # At the beginning there is the head alone, which has no cores for trials.
    resources = allocate(options, nodes=[Node("head", "head", 0)], trials=100)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    worker = Node("worker", "worker", int(limits["cpu"]), float(limits["nvidia.com/gpu"]))
    assert resources.slots_of(worker) == 1
    assert resources.concurrent == group["maxReplicas"]


def test_the_panels_show_what_is_exported() -> None:
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    named = set(re.findall(r"ray_(\w+)\{", shown))
    assert named == set(GAUGES)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    asked = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) <= asked
