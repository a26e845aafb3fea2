"""What benchmarks of training measure, round by round: a real trial, a plain script, and the limit of the hardware."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bts_tune.config import AugmentationPart, TrialConfig
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import PreparedData, PreparedSplit, load_prepared

if TYPE_CHECKING:
    import torch

    from bts_tune.data.records import SliceRecord


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        kind: peer, peer-amp, limit, run or an augmentation policy.
        config: the trial's configuration.
        prepared: folder of the prepared dataset.
        data: the dataset itself, which the peer reads.
        device: cpu or cuda.
        threads: CPU threads, and workers of the peer's DataLoader.
        steps: training steps of a round.
    """

    kind: str
    config: TrialConfig
    prepared: Path
    data: Path
    device: str
    threads: int
    steps: int


@dataclass(frozen=True)
class Measurement:
    """What a process measured in one round; seconds are wall-clock, and None where they are not known."""

    images: int
    step_seconds: float
    waiting_seconds: float | None = 0.0
    outside_seconds: float | None = None
    peak_mib: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images of the round over the seconds of its steps."""
        return self.images / self.step_seconds


def measure_rounds(job: Job) -> Generator[Measurement, None, None]:
    """Measure a round for each time that the next one is asked for, in this process."""
    import torch

    torch.set_num_threads(job.threads)
    kind = {"peer": _peer, "peer-amp": _peer, "limit": _limit}.get(job.kind, _trial)(job)
    try:
        for one in kind:
            yield replace(one, peak_mib=_peak_mib(job))
    finally:
        kind.close()


def _limit(job: Job) -> Generator[Measurement, None, None]:
    from bts_tune.models.weights import EncoderWeights
    from bts_tune.training.loop import open_trial
    from bts_tune.training.trial import TrialSetup

    setup = TrialSetup(EncoderWeights(job.config.encoder), device=job.device, threads=job.threads)
    trial = open_trial(job.config, _subset(load_prepared(job.prepared), job), setup)
    image, truth = next(trial.loader.training(1))
    trial.model.train()
    encoder: Any = trial.model.encoder
    for module in encoder.modules() if job.config.freeze == "all" else ():
        module.eval()
    while True:
        _synchronize(job)
        started = time.perf_counter()
        trial.step.begin_epoch()
        for _ in range(job.steps):
            trial.step(image, truth)
            trial.amp.scaler.step(trial.optimizer)
            trial.amp.scaler.update()
        _synchronize(job)
        assert math.isfinite(trial.step.sums()[0])
        yield Measurement(job.steps * len(image), time.perf_counter() - started)


def _trial(job: Job) -> Generator[Measurement, None, None]:
    from bts_tune.models.weights import EncoderWeights
    from bts_tune.training.loop import open_trial, rows
    from bts_tune.training.trial import TrialSetup

    with tempfile.TemporaryDirectory() as folder:
        setup = TrialSetup(EncoderWeights(job.config.encoder), job.device, job.threads, Path(folder))
        trial = open_trial(job.config, _subset(load_prepared(job.prepared), job), setup)
        loader = _Timed(trial.loader)
        trial.loader = loader  # type: ignore[assignment]
        epochs = rows(trial)
        try:
            while True:
                loader.waiting = loader.validating = 0.0
                started = time.perf_counter()
                row = next(epochs)
                outside = time.perf_counter() - started - row.train_seconds - loader.validating
                yield Measurement(trial.loader.images_per_epoch, row.train_seconds, loader.waiting, outside)
        finally:
            epochs.close()
            trial.close()


class _Timed:
    """A trial's loader that takes the time spent waiting for training batches, and that of a whole validation."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.waiting = self.validating = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def training(self, epoch: int) -> Iterator[Any]:
        batches = self._loader.training(epoch)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.waiting += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def evaluation(self, split: PreparedSplit) -> Iterator[Any]:
        started = time.perf_counter()
        yield from self._loader.evaluation(split)
        self.validating += time.perf_counter() - started


def _peer(job: Job) -> Generator[Measurement, None, None]:
    import segmentation_models_pytorch as smp
    import torch

    from bts_tune.models.build import build_model
    from bts_tune.models.freezing import EncoderFreeze, set_mode
    from bts_tune.models.weights import EncoderWeights

    config = job.config
    torch.manual_seed(config.seed)
    model: Any = build_model(config, EncoderWeights(config.encoder)).to(job.device)
    EncoderFreeze(model, config).apply(epoch=1)
    set_mode(model, training=True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate)
    dice, cross_entropy = smp.losses.DiceLoss(mode="binary"), torch.nn.BCEWithLogitsLoss()
    slices = PeerSlices(open_dataset(job.data).records["train"], config)
    loader: Any = torch.utils.data.DataLoader(
        cast(Any, slices),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=job.threads,
        pin_memory=job.device == "cuda",
        persistent_workers=True,
        multiprocessing_context="fork",
    )

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    batches = forever()
    while True:
        waiting, images = 0.0, 0
        _synchronize(job)
        started = time.perf_counter()
        for _ in range(job.steps):
            asked = time.perf_counter()
            image, truth = next(batches)
            waiting += time.perf_counter() - asked
            image, truth = image.to(job.device, non_blocking=True), truth.to(job.device, non_blocking=True)
            with torch.autocast(job.device, dtype=torch.bfloat16, enabled=job.kind == "peer-amp"):
                logits = model(image)
            loss = dice(logits.float(), truth) + cross_entropy(logits.float(), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            images += len(image)
        _synchronize(job)
        yield Measurement(images, time.perf_counter() - started, waiting)


class PeerSlices:
    """A `torch.utils.data.Dataset` as tutorials write it: everything is done on every access."""

    def __init__(self, records: Sequence[SliceRecord], config: TrialConfig) -> None:
        from bts_tune.augmentation import policies
        from bts_tune.augmentation.image_wise import Augmenter

        self._records, self._size = records, config.image_size
        self._augment = Augmenter(policies.steps(AugmentationPart(augmentation="medium"), config.image_size))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import cv2
        import torch

        from bts_tune.data.prepared.images import read_mask

        cv2.setNumThreads(0)
        record, side = self._records[index], (self._size, self._size)
        grey = cv2.imread(str(record.image), cv2.IMREAD_GRAYSCALE)
        assert grey is not None, record.image
        image = cv2.equalizeHist(grey)
        image = cv2.resize(image, side, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(read_mask(record), side, interpolation=cv2.INTER_NEAREST)
        image, mask = self._augment(image, mask, int(torch.randint(2**31, ())))
        standard = (image.astype(np.float32) - 127.5) / 64
        return torch.from_numpy(standard)[None], torch.from_numpy(mask.astype(np.float32))[None]


def _subset(data: PreparedData, job: Job) -> PreparedData:
    """Return the training slices of a round's steps, repeated where there are fewer, and a batch to validate on."""

    def taken(split: PreparedSplit, count: int) -> PreparedSplit:
        places = np.resize(np.arange(len(split)), count)
        return PreparedSplit(split.images[places], split.masks[places], [split.names[place] for place in places])

    batch = job.config.batch_size
    return replace(data, train=taken(data.train, job.steps * batch), valid=taken(data.valid, batch))


def _synchronize(job: Job) -> None:
    if job.device == "cuda":
        import torch

        torch.cuda.synchronize()


def _peak_mib(job: Job) -> float:
    """Return CUDA's peak, or the peak resident set of this process and its workers (shared pages count in each)."""
    if job.device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**20
    children = [child.pid for child in multiprocessing.active_children()]
    peaks = []
    for process in ("self", *children):
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
            peaks += [float(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:")]
    return sum(peaks)
