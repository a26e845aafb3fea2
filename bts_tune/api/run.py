"""A run on disk: its tables, its models, its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts_tune import plugins
from bts_tune.api.arguments import checked, name_or_path, one_or_several
from bts_tune.config import TrialConfig
from bts_tune.errors import ConfigError, RunError
from bts_tune.paths import user_path
from bts_tune.registry import EXPORTS
from bts_tune.results.find import best_model, ensemble_models, find_run, plane_of_slices
from bts_tune.results.record.run_folder import RunFolder, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

    from bts_tune.export.formats.base import Exported
    from bts_tune.report.live import LivePage
    from bts_tune.report.write import ReportFiles
    from bts_tune.training.prediction.predict import Prediction
    from bts_tune.training.prediction.segmenter import Segmenter


class Run:
    """A run on disk, finished or not. Whatever is asked of it is read from its folder anew.

    Attributes:
        folder: its folder and its record.
        report_files: the files of the report that `tune`, `resume` or `report` wrote; None for a run that was only
            opened.
    """

    def __init__(self, folder: RunFolder, report_files: ReportFiles | None = None) -> None:
        self.folder, self.report_files = folder, report_files

    def __repr__(self) -> str:
        """Return the call that opens it."""
        return f"open_run({str(self.path)!r})"

    def _records(self) -> list[TrialRecord]:
        self.folder.read_run()  # of a folder that has gone, nothing is told, and not that it has no trials
        return self.folder.trials()

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """How it stands: 'running', 'complete', 'interrupted', 'out-of-time' or 'failed'."""
        return str(self.folder.read_run().get("status", ""))

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, in the order of planning; the columns of `leaderboard`."""
        order = {record.trial: record.index for record in self._records()}
        return self.leaderboard.sort_values("trial", key=lambda names: names.map(order), ignore_index=True)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of a trial, with every metric; the same as `epochs.csv`."""
        from bts_tune.results.tables import epochs_table

        return epochs_table(self._records())

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a trial, best first; the same as `leaderboard.csv`.

        How it ended (`status`, `reason`), the metrics at its best epoch and every field of its configuration.
        """
        from bts_tune.results.tables import leaderboard

        return leaderboard(self._records())

    @property
    def configurations(self) -> pd.DataFrame:
        """One row a configuration, best first: means, spreads and intervals; the same as `configurations.csv`."""
        from bts_tune.results.statistics.comparison import compare_configurations
        from bts_tune.results.tables import configurations_table

        trials = self._records()
        return configurations_table(trials, compare_configurations(self.folder, trials))

    @property
    def best_config(self) -> TrialConfig:
        """The configuration that is ranked first, with the seed of its best trial; in full, not at a lower fidelity.

        Raises:
            RunError: no trial has been trained to the full budget yet.
            ConfigError: it names a loss or decoder of a plugin that is not loaded.
        """
        from bts_tune.results.ranking.leaderboard import ranking

        ranked = ranking(self._records())
        if not ranked:
            raise RunError(f"{self.path}: no trial has been trained to the full budget yet, so that none is ranked.")
        where = f"{self.path}: trial {ranked[0].trial}"
        return TrialConfig.parse(ranked[0].config, where).replaced(ranked[0].full, where)

    @checked
    def best_model(
        self, trial: str | None = None, *, device: str = "auto", ensemble: bool = False, tta: bool = False
    ) -> Segmenter:
        """Return the model that is ranked first, with its preprocessing: a `torch.nn.Module` in evaluation mode.

        Its `predict(image)` takes a file or an array, [H, W] or [H, W, 3], and returns the tumour as uint8 0 and 1,
        [H, W]; `probability(image)` returns float32 from 0 to 1, [H, W].

        Args:
            trial: take this trial's model instead.
            device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
            ensemble: take all trainings of the winner as one, the mean of their probabilities; in place of `trial`.
            tta: test-time augmentation: the mean over flips of an image, in 2 or 4 times the time (docs/prediction.md).

        Raises:
            RunError: no trial, or not this one, has left a model, or too few for an ensemble, or one cannot be read.
            ConfigError: there is no such device.
        """
        from bts_tune.training.prediction.ensemble import load_segmenter

        if ensemble and trial is not None:
            raise ConfigError("ensemble and trial are both given; give one of them.")
        folders = ensemble_models(self.folder) if ensemble else [best_model(self.folder, trial)]
        return load_segmenter(folders, device, tta=tta)

    @checked
    def predict(
        self,
        images: Path | str | Sequence[Path | str],
        out: Path | str,
        *,
        trial: str | None = None,
        device: str = "auto",
        ensemble: bool = False,
        tta: bool = False,
        formats: str | Sequence[str] = (),
        batch_size: int = 8,
    ) -> list[Prediction]:
        """Write a mask and an overlay for each image or volume, and `predictions.csv`; return what was written.

        Args:
            images: images, NIfTI volumes and DICOM series, or folders of them.
            out: folder for `<image>_mask.png`, of 0 and 255, and `<image>_overlay.png`, in the image's own size. Of a
                volume, which is cut along the plane of the run's own data, `<volume>_mask.nii.gz` of 0 and 1 has the
                same shape and affine; of a DICOM series `<series>_mask.dcm` is a DICOM SEG. Their overlay shows the
                slice with most tumour.
            trial, device, ensemble, tta: as for `best_model`.
            formats: of the masks, one or several, in place of those: 'png' (of a volume a folder of slices),
                'nifti' (of NIfTI and DICOM), 'dicom-seg' (of DICOM), 'coco' (`predictions.json`, of images).
            batch_size: images, or slices of a volume, that go through the network together.

        Raises:
            RunError, ConfigError: as for `best_model`; there is no such format, or not for such an image; a file cannot
                be written.
            DataError: an image cannot be read (those before it are written), or would be overwritten.
        """
        from bts_tune.training.prediction.predict import predict

        paths = [user_path(one, "images", recorded=False) for one in one_or_several(images, "images")]
        asked, folder = one_or_several(formats, "formats"), user_path(out, "out", recorded=False)
        model = self.best_model(trial, device=device, ensemble=ensemble, tta=tta)
        plane = plane_of_slices(self.folder)
        return list(predict(model, paths, folder, plane=plane, formats=asked, batch_size=batch_size))

    @checked
    def export(
        self,
        to: str,
        output: Path | str | None = None,
        *,
        trial: str | None = None,
        ensemble: bool = False,
        tta: bool = False,
    ) -> Exported:
        """Write the best model, or the run itself, in a form that other programs read.

        Args:
            to: the format: 'folder', 'onnx', 'torch-export', 'optuna', or one of a plugin.
            output: the path to write to, or for 'optuna' the address of a storage; by default `exports/` of the run's
                folder. `output` of what is returned says where it is, `notes` what to know of it.
            trial: take this trial's model instead of the best.
            ensemble, tta: as for `best_model`; in 'onnx' and 'torch-export'.

        Raises:
            ConfigError: there is no such format, it cannot hold what is asked for, or a package that it needs is
                missing.
            RunError: no trial has left a model, something is there already, or it cannot be written.
        """
        from bts_tune.export.context import ExportContext

        export = EXPORTS.get(to)()
        if (ensemble or tta) and not export.averages:
            others = " or ".join(name for name, one in EXPORTS.all().items() if one.averages)
            raise ConfigError(
                f"--to {to}: cannot hold an ensemble or test-time augmentation; leave out --ensemble and --tta, or "
                f"export to {others}."
            )
        context = ExportContext(self.folder, trial, ensemble=ensemble, tta=tta)
        where = None if output is None else name_or_path(output, "output")
        if where is not None and "://" not in where:  # else it is the address of a storage
            where = str(user_path(where, "output", recorded=False))
        exported: Exported = export.write(context, where)
        return exported

    @checked
    def send(self, tracker: str) -> str:
        """Send what a tracker lacks of the run: trials, epochs, the report and the best model.

        Args:
            tracker: 'mlflow', 'wandb', 'trackio', or one of a plugin that is a `ServiceTracker`.

        Returns:
            A line that says where it is found.

        Raises:
            ConfigError: there is no such tracker, or a package that it needs is missing.
            RunError: the service does not answer.
        """
        from bts_tune.experiment.callbacks.sending import send_run

        return send_run(self.folder, tracker)

    def report(self) -> ReportFiles:
        """Write the report anew from the record alone, and return its files: `page` is `report.html`.

        Raises:
            RunError: the record cannot be read, or a file cannot be written.
        """
        self.report_files = reporter(self.folder)
        return self.report_files


def open_run(run: Path | str, results: Path | str = "results") -> Run:
    """Open a run by its folder, or by its name in `results`.

    Raises:
        RunError: there is none.

    Examples:
        >>> run = open_run("results/demo")  # doctest: +SKIP
        >>> run.leaderboard[["rank", "trial", "val_dice_loss"]]  # doctest: +SKIP
    """
    plugins.load_installed()
    return Run(find_run(name_or_path(run, "run"), user_path(results, "results", recorded=False)))


@checked
def load_model(folder: Path | str, *, device: str = "auto") -> Segmenter:
    """Return the model of a folder that `Run.export("folder")` wrote, as `Run.best_model` returns it.

    Args:
        folder: it holds `model.safetensors` and `model.json`, as `models/<trial>/` of a run does.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        RunError: it cannot be read, or needs a plugin that is not loaded.
        ConfigError: there is no such device.

    Examples:
        >>> load_model("unet-b0").predict("scan.png")  # doctest: +SKIP
    """
    from bts_tune.training.prediction.segmenter import Segmenter

    plugins.load_installed()
    return Segmenter.load(user_path(folder, "folder", recorded=False), device).eval()


class _Reporter:
    """Makes the report of a run: when it has ended, and its page from time to time while it goes on."""

    def __call__(self, folder: RunFolder) -> ReportFiles:
        from bts_tune.report.write import write_report

        return write_report(folder)

    def live(self, folder: RunFolder) -> LivePage:
        from bts_tune.plugins import loaded_plugins
        from bts_tune.report.live import LivePage

        return LivePage(folder, [plugin.name for plugin in loaded_plugins() if plugin.kind != "class"])


reporter = _Reporter()
