"""One configuration, trained in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune import plugins
from bts_tune.api.arguments import checked
from bts_tune.api.datasets import as_dataset, with_splits
from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.errors import ConfigError, RunError
from bts_tune.paths import user_path

if TYPE_CHECKING:
    from bts_tune.data.records import Dataset
    from bts_tune.training.trial import Row, TrialSetup


@checked
def train(
    config: TrialConfig | Mapping[str, Any],
    data: Dataset | Path | str,
    *,
    device: str = "auto",
    threads: int = 0,
    folder: Path | str | None = None,
    weights_dir: Path | str | None = None,
    cache: Path | str | None = None,
) -> Iterator[Row]:
    """Train one configuration in this process, without Ray, and yield each epoch.

    Args:
        config: the configuration, or its fields that are not at their defaults.
        data: a dataset, or its folder.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads of this process, also afterwards; 0 leaves torch's own choice.
        folder: where the last state and the best weights are kept; a training that was cut off goes on from there,
            and first yields the epochs that it had. `load_model(folder)` returns the model.
        weights_dir: folder with `<encoder>.safetensors` or `.pth` files.
        cache: folder of prepared data.

    Raises:
        ConfigError, DataError, WeightsError: the configuration, the device, the number of threads, the dataset or the
            encoder's weights cannot be used.
        RunError: `folder` cannot be made, or holds a training of another configuration, or a broken one.
        DivergedError: the loss or a metric is no longer finite; after the last epoch that was.

    Examples:
        >>> for epoch in train({"encoder": "resnet18", "encoder_weights": "none"}, "slices"):  # doctest: +SKIP
        ...     print(epoch.epoch, epoch.val_dice_loss)
    """
    from bts_tune.models.weights import resolve_weights
    from bts_tune.training.device import resolve_device
    from bts_tune.training.trial import TrialSetup

    plugins.load_installed()
    # What can be refused is refused here, not where the first epoch is asked for.
    if not isinstance(config, TrialConfig):
        config = TrialConfig.parse(config)
    if threads < 0:
        raise ConfigError(f"threads: must be a whole number from 0 on, got {threads!r}.")
    resolve_device(device)
    folders = {"folder": folder, "weights_dir": weights_dir, "cache": cache}
    given = {name: None if path is None else user_path(path, name, recorded=False) for name, path in folders.items()}
    dataset = with_splits(as_dataset(data), grouped=config.train_share < 1)
    weights = resolve_weights(config.encoder, config.encoder_weights, given["weights_dir"], given["cache"])
    kept = given["folder"]
    if kept is not None:
        try:
            kept.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{kept}: cannot be a folder to keep the training in: {error.strerror}.") from None
    setup = TrialSetup(weights, device=device, threads=threads, folder=kept)
    return _epochs(config, dataset, setup, given["cache"])


def _epochs(config: TrialConfig, dataset: Dataset, setup: TrialSetup, cache: Path | None) -> Iterator[Row]:
    from bts_tune.data.prepared.prepare import prepare
    from bts_tune.training.loop import open_trial, rows

    prepared = prepare(dataset, config.part(PreprocessingPart), cache=cache)
    trial = open_trial(config, prepared, setup)
    try:
        if trial.lost:
            raise RunError(f"{setup.folder}: {trial.lost}; name another folder, or remove this one.")
        yield from rows(trial)
    finally:
        trial.close()
