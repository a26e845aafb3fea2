"""What a node that shares nothing gets and gives back, on a small cluster in this process."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import PreparedData, prepare
from bts_tune.experiment.execution.cluster.connection import connected
from bts_tune.experiment.execution.files.node_files import NodeFaultError, Shipping, TrialFiles, UnwritableResultsError
from bts_tune.experiment.execution.files.shipping import start_storage
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.models.weights import EncoderWeights
from bts_tune.training.checkpoint import CARD, LAST, WEIGHTS
from tests.training.builders import tiny

Part = PreprocessingPart


@pytest.fixture(scope="module")
def inputs(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrialInputs:
    """Prepared data, and a file that stands for weights."""
    root = tmp_path_factory.mktemp("driver")
    prepared = prepare(open_dataset(small_data), tiny().part(Part), cache=root / "cache")
    weights = root / "weights.pth"
    weights.write_bytes(b"weights" * 1000)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    found = {("resnet18", "imagenet"): EncoderWeights("resnet18", str(weights), digest)}
    return TrialInputs({(tiny().part(Part), None): str(prepared.folder)}, found, {})


@pytest.fixture(scope="module")
def shipping(inputs: TrialInputs) -> Iterator[Shipping]:
    with connected(RunOptions(space="baseline", device="cpu", dashboard=False), resume=str):
        actor, shipping = start_storage(inputs)
        yield shipping
        del actor


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a node that is not the driver's."""
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "own"))
    return tmp_path / "own"


def arrays(data: PreparedData) -> list[np.ndarray]:
    return [getattr(getattr(data, split), kind) for split in ("train", "valid", "test") for kind in ("images", "masks")]


def hidden(shipping: Shipping, path: Path) -> None:
    """Have the storage read a file or a folder, and move it away."""
    import ray

    ray.get(ray.get_actor(shipping.storage).parts.remote(str(path)))
    path.rename(path.with_name(f"{path.name}-hidden"))


def test_prepared_data_and_weights_are_brought_once_and_are_the_same(
    shipping: Shipping, inputs: TrialInputs, elsewhere: Path
) -> None:
    (folder,) = inputs.prepared.values()
    before = [np.array(one) for one in arrays(shipping.prepared(folder))]
    hidden(shipping, Path(folder))
    found = shipping.prepared(folder)
    assert all(np.array_equal(one, other) for one, other in zip(arrays(found), before, strict=True))
    assert found.folder.name == Path(folder).name
    stamp = found.folder.stat().st_mtime_ns
    assert shipping.prepared(folder).folder.stat().st_mtime_ns == stamp  # it is there by now

    (weights,) = inputs.weights.values()
    assert weights.path is not None
    assert shipping.weights(weights) == weights
    content = Path(weights.path).read_bytes()
    hidden(shipping, Path(weights.path))
    brought = shipping.weights(weights)
    assert brought.path is not None
    assert Path(brought.path).read_bytes() == content
    assert Path(brought.path).suffix == ".pth"
    Path(brought.path).write_bytes(b"damaged")
    again = shipping.weights(weights)
    assert again.path is not None
    assert Path(again.path).read_bytes() == content
    none = EncoderWeights("resnet18")
    assert shipping.weights(none) is none


def test_a_node_without_room_is_at_fault(
    shipping: Shipping, inputs: TrialInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for variable in ("BTS_TUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "file" / "own"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    (weights,) = inputs.weights.values()
    assert weights.path is not None
    away = EncoderWeights("resnet18", str(tmp_path / "file" / "weights.pth"), weights.sha256)
    with pytest.raises(NodeFaultError, match="what a trial needs cannot be kept there"):
        shipping.weights(away)


def write(folder: Path, **contents: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {"weights": WEIGHTS, "card": CARD, "last": LAST}
    for name, content in contents.items():
        (folder / names[name]).unlink(missing_ok=True)
        (folder / names[name]).write_bytes(content)


def test_a_trial_takes_its_last_state_with_it_and_brings_back_what_it_wrote(shipping: Shipping, tmp_path: Path) -> None:
    home = tmp_path / "models" / "a"
    write(home, last=b"epoch 1", weights=b"best of epoch 1")
    files = TrialFiles(str(home), shipping)
    assert not files.shared
    assert files.folder != home
    assert [path.name for path in files.folder.iterdir()] == [LAST]
    assert (files.folder / LAST).read_bytes() == b"epoch 1"
    shutil.rmtree(home)
    files.bring_back()
    assert not home.exists()  # nothing was written
    write(files.folder, last=b"epoch 2")
    files.bring_back()
    assert [path.name for path in home.iterdir()] == [LAST]
    write(files.folder, last=b"epoch 3", weights=b"best of epoch 3", card=b"{}")
    files.bring_back()
    assert (home / WEIGHTS).read_bytes() == b"best of epoch 3"
    assert (home / LAST).read_bytes() == b"epoch 3"
    files.close()
    assert not files.folder.exists()
    with shipping.model(str(home)) as copy:
        assert copy != home
        assert (copy / WEIGHTS).read_bytes() == b"best of epoch 3"
    assert not copy.exists()


def test_a_driver_that_cannot_write_ends_the_run(shipping: Shipping, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = TrialFiles(str(tmp_path / "file" / "a"), shipping)
    write(files.folder, last=b"epoch 1")
    with pytest.raises(UnwritableResultsError, match="Not a directory"):
        files.bring_back()
    files.close()


def test_a_node_that_shares_the_results_uses_them(tmp_path: Path) -> None:
    (tmp_path / "nonce").write_text("content")
    shared = Shipping("nobody", (str(tmp_path / "nonce"), "content"))
    files = TrialFiles(str(tmp_path / "models" / "a"), shared)
    assert files.shared
    assert files.folder == tmp_path / "models" / "a"
    files.bring_back()
    files.close()
    with shared.model(str(files.folder)) as model:
        assert model == files.folder
