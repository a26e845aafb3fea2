"""What every export must do."""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from bts_tune import api
from bts_tune.data.prepared.images import read_grey
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.errors import BtsTuneError, ConfigError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import EXPORTS, Export, Exported
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.testing.runs import make_run, make_trial, write_run

SMALL: dict[str, Any] = {
    "decoder": "linknet",
    "encoder": "tu-test_efficientnet",
    "encoder_weights": "none",
    "image_size": 64,
    "epochs": 1,
    "batch_size": 8,
    "decoder_dropout": 0.5,
    "head_dropout": 0.5,
}
"""A network that trains in a second."""


@functools.cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bts-tune-exports-")


@functools.cache
def example_data() -> Path:
    """Return a dataset of generated slices, 96 pixels wide; made once, to be left as it is."""
    root = Path(_home().name) / "slices"
    write_phantom(root, count=20, image_size=96, slices_per_patient=2, workers=1)
    return root


def train_run(path: Path, trials: dict[str, dict[str, Any]], **run: Any) -> RunFolder:
    """Train each trial for an epoch or so on `example_data`, and return the run that they make.

    Args:
        path: where the run's folder is made.
        trials: by name, the fields in which each differs from `SMALL`; names that differ in '-seed<n>' alone are
            trainings of one configuration.
        run: fields of `run.json`.
    """
    records: list[TrialRecord] = []
    models = Path(tempfile.mkdtemp(dir=_home().name))
    for index, (name, fields) in enumerate(trials.items()):
        config = {**SMALL, **fields}
        epochs = api.train(config, example_data(), folder=models / name, cache=models / "cache", device="cpu")
        rows = [{**epoch.to_dict(), "trial": name} for epoch in epochs]
        configuration = name.partition("-seed")[0]
        baseline = index == 0 or configuration == records[0].name
        records.append(make_trial(name, name=configuration, index=index, baseline=baseline, rows=rows, **config))
    content = make_run(**run)
    content["dataset"]["path"] = str(example_data())
    folder = write_run(path, records, content)
    for name in trials:
        shutil.copytree(models / name, folder.model_folder(name))
    with folder.split_file.open("w", newline="", encoding="utf-8") as file:
        written = csv.writer(file)
        written.writerow(["file", "split", "group"])
        written.writerows([record.name, record.split, ""] for record in api.open_dataset(example_data()))
    return folder


@functools.cache
def example_run() -> RunFolder:
    """Return a run of two trials that left a model each, 'plain' and 'clahe'; made once, to be left as it is."""
    return train_run(Path(_home().name) / "run", {"plain": {}, "clahe": {"equalization": "clahe"}})


def validation_images() -> NDArray[np.uint8]:
    """Return images of the validation split of `example_run`, uint8 [n, 1, 96, 96]."""
    valid = [record.image for record in api.open_dataset(example_data()) if record.split == "valid"]
    return np.stack([read_grey(path) for path in valid])[:, np.newaxis]


class ExportContract:
    """Inherit it, and name the export: `name = "my-export"`.

    Override `probabilities` where what was written can be asked for the probabilities of images, and `output` where a
    path does not do.
    """

    name: ClassVar[str]

    def output(self, folder: Path) -> str:
        """Return what to export to."""
        return str(folder / "exported")

    def written(self, folder: Path) -> dict[str, str]:
        """Return what was written below a folder, by name and content."""
        return _content(folder)

    def probabilities(self, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the exported model says of images, uint8 [n, 1, H, W], in the same shape."""
        raise NotImplementedError

    def make(self) -> Export:
        """Return a new instance, as each export makes one."""
        export: Export = EXPORTS.get(self.name)()
        return export

    def _trial(self) -> str | None:
        """Return the trial whose model it writes; None where it writes the run."""
        return None if type(self).probabilities is ExportContract.probabilities else "plain"

    def test_it_is_declared(self) -> None:
        """By the name that it is chosen by, with a line for the help."""
        export = self.make()
        assert isinstance(export, Export)
        assert export.name == self.name
        assert export.title
        assert "\n" not in export.title

    def test_it_writes_and_changes_nothing_of_the_run(self) -> None:
        """Notes are sentences of one line."""
        once = exported_once(type(self))
        assert once.exported.output == self.output(once.folder)
        assert self.written(once.folder)
        assert not [note for note in once.exported.notes if "\n" in note or not note]
        assert _content(example_run().path) == once.run_before

    def test_nothing_is_written_over_what_is_there(self) -> None:
        """It is refused in one sentence."""
        folder = exported_once(type(self)).folder
        before = self.written(folder)
        with pytest.raises(BtsTuneError) as refused:
            self.make().write(ExportContext(example_run()), self.output(folder))
        assert "\n" not in str(refused.value)
        assert self.written(folder) == before

    def test_a_run_that_has_nothing_to_export_is_refused(self, tmp_path: Path) -> None:
        """Nothing is left behind."""
        empty = write_run(tmp_path / "empty", [], make_run(status="interrupted"))
        (tmp_path / "out").mkdir()
        with pytest.raises(BtsTuneError) as refused:
            self.make().write(ExportContext(empty), self.output(tmp_path / "out"))
        assert "\n" not in str(refused.value)
        assert not list((tmp_path / "out").iterdir())

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path) -> None:
        """It is told in one sentence, unless what it writes is so small that it still finds room."""
        context = ExportContext(example_run(), self._trial())
        with _full_disk():
            try:
                self.make().write(context, self.output(tmp_path))
            except BtsTuneError as error:
                refused = str(error)
            else:
                return
        assert "\n" not in refused
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("ensemble", "tta"), [(True, False), (False, True)])
    def test_an_average_that_it_cannot_hold_is_refused(self, tmp_path: Path, ensemble: bool, tta: bool) -> None:
        """Unless it `averages`, so that nobody takes one network for what was asked for."""
        if self.make().averages:
            return
        with pytest.raises(ConfigError, match=f"--to {self.name}: cannot hold an ensemble or test-time augmentation;"):
            api.Run(example_run()).export(self.name, self.output(tmp_path), ensemble=ensemble, tta=tta)
        assert not list(tmp_path.iterdir())

    def test_the_model_gives_the_run_s_probabilities(self) -> None:
        """Of images one at a time and several at a time, within 1e-4."""
        if type(self).probabilities is ExportContract.probabilities:
            return
        output = self.output(exported_once(type(self)).folder)
        images = validation_images()
        together = self.probabilities(output, images)
        model = api.Run(example_run()).best_model("plain", device="cpu")
        np.testing.assert_allclose(together[:, 0], [model.probability(image[0]) for image in images], atol=1e-4)
        one = self.probabilities(output, images[:1])
        np.testing.assert_allclose(one, together[:1], atol=1e-4)


@dataclass(frozen=True)
class ExportedOnce:
    """What a format made of `example_run`: below which folder, and what the run's folder held before."""

    folder: Path
    exported: Exported
    run_before: dict[str, str]


_exported: dict[type[ExportContract], ExportedOnce] = {}


def exported_once(contract: type[ExportContract]) -> ExportedOnce:
    """Return the export that the tests of a class share, of 'plain' if it is of a model; made once, to be left."""
    if contract not in _exported:
        tests, folder = contract(), Path(tempfile.mkdtemp(dir=_home().name))
        run_before = _content(example_run().path)
        exported = tests.make().write(ExportContext(example_run(), tests._trial()), tests.output(folder))
        _exported[contract] = ExportedOnce(folder, exported, run_before)
    return _exported[contract]


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    """Let this process write no file of more than a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _content(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
