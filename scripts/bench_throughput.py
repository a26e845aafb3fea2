#!/usr/bin/env python
"""Measures how many images a second a real trial trains on, beside a plain script and beside the hardware's limit.

    python scripts/bench_throughput.py --data DIR
    python scripts/bench_throughput.py --models unet-b0 --seconds 3 --rounds 1        # a quick look, on phantoms

    peer        what SMP's examples teach: a Dataset that reads, equalises, resizes and augments (policy medium) an
                image on every access, a DataLoader with a worker a core, Adam, default memory layout, float32
    peer-amp    on CUDA: the same in mixed precision, bfloat16
    limit       the same model, optimiser and loss on one batch that is on the device already: no data at all, in the
                layout and precision of a trial
    none, …     a trial as a run trains it, by `training.loop`, with this augmentation policy

Each is a process of its own, so that its peak memory is its own. Peer and limit of a model take turns with one policy
after another, a few steps each, so that a drift of the machine's speed meets them alike, and no more than three or four
models are in memory; ratios are taken within a turn, and the median over the turns is shown. The first turn of a
process warms up and is not counted. Encoders have random weights: the arithmetic is the same.

Columns: images a second in training steps; the ratio to the peer (mixed precision where it is faster) and to the limit;
the share of a step spent waiting for data; seconds of an epoch outside training steps and validation (the checkpoint
above all); peak memory, which is the process's resident set and its workers' on a CPU, and CUDA's on a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bts_tune.config import AugmentationPart, ModelPart, PreprocessingPart, TrialConfig
from bts_tune.data.cache import default_cache
from bts_tune.data.phantom import write_phantom
from bts_tune.data.prepare import PreparedData, PreparedSplit, load_prepared, prepare
from bts_tune.data.sources import open_dataset
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.environment import available_cpus, hardware
from bts_tune.space import load_space

if TYPE_CHECKING:
    import torch

    from bts_tune.data.records import SliceRecord

MODELS = ("unet-b0", "unet-b0-frozen", "unetplusplus-b5")
POLICIES = ("none", "light", "medium", "strong")


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        kind: peer, peer-amp, limit or an augmentation policy.
        config: the trial's configuration.
        prepared: folder of the prepared dataset.
        data: the dataset itself, which the peer reads.
        device: cpu or cuda.
        threads: CPU threads, and workers of the peer's DataLoader.
        steps: training steps of a turn.
    """

    kind: str
    config: TrialConfig
    prepared: Path
    data: Path
    device: str
    threads: int
    steps: int


@dataclass(frozen=True)
class Turn:
    """What a process measured in one turn; seconds are wall-clock."""

    images: int
    step_seconds: float
    waiting_seconds: float = 0.0
    outside_seconds: float | None = None
    peak_mib: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images of the turn over the seconds of its steps."""
        return self.images / self.step_seconds


def serve(connection: Connection, job: Job) -> None:
    """Measure a turn for each message, until told to end; a failure is sent as a sentence."""
    import torch

    torch.set_num_threads(job.threads)
    turns = {"peer": _peer, "peer-amp": _peer, "limit": _limit}.get(job.kind, _trial)(job)
    try:
        while connection.recv():
            turn = next(turns)
            connection.send(replace(turn, peak_mib=_peak_mib(job)))
    except EOFError:
        pass
    except Exception as error:  # for whoever waits for the answer
        connection.send(f"{type(error).__name__}: {error}")
    finally:
        turns.close()


def _limit(job: Job) -> Generator[Turn, None, None]:
    import torch

    from bts_tune.training.loop import TrialSetup, open_trial
    from bts_tune.training.weights import EncoderWeights

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
        for _ in range(job.steps):
            with trial.arithmetic.autocast():
                logits = trial.model(image)
            loss = trial.objective(logits.float(), truth)
            trial.optimizer.zero_grad(set_to_none=True)
            trial.arithmetic.scaler.scale(loss).backward()
            trial.arithmetic.scaler.step(trial.optimizer)
            trial.arithmetic.scaler.update()
        _synchronize(job)
        assert torch.isfinite(loss)
        yield Turn(job.steps * len(image), time.perf_counter() - started)


def _trial(job: Job) -> Generator[Turn, None, None]:
    from bts_tune.training.loop import TrialSetup, open_trial, rows
    from bts_tune.training.weights import EncoderWeights

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
                yield Turn(trial.loader.images_per_epoch, row.train_seconds, loader.waiting, outside)
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


def _peer(job: Job) -> Generator[Turn, None, None]:
    import segmentation_models_pytorch as smp
    import torch

    from bts_tune.training.freezing import EncoderFreeze, set_mode
    from bts_tune.training.model import build_model
    from bts_tune.training.weights import EncoderWeights

    config = job.config
    torch.manual_seed(config.seed)
    model: Any = build_model(config.part(ModelPart), EncoderWeights(config.encoder)).to(job.device)
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
        yield Turn(images, time.perf_counter() - started, waiting)


class PeerSlices:
    """A `torch.utils.data.Dataset` as tutorials write it: everything is done on every access."""

    def __init__(self, records: Sequence[SliceRecord], config: TrialConfig) -> None:
        from bts_tune.training.augmentation import Augmenter

        self._records, self._size = records, config.image_size
        part = AugmentationPart(augmentation="medium")
        self._augment = Augmenter(part, config.image_size)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import cv2
        import torch

        from bts_tune.data.images import read_mask

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
    """Return the training slices of a turn's steps, repeated where there are fewer, and a batch to validate on."""

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


class Process:
    """One `Job` in a process of its own. Use as a context manager."""

    def __init__(self, job: Job) -> None:
        self.job = job
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, job))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def turn(self) -> Turn:
        """Measure a turn; see `answer`."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Begin a turn."""
        with contextlib.suppress(OSError):  # a process that died says so, by silence, in `answer`
            self._connection.send(True)

    def answer(self) -> Turn:
        """Wait for the turn that was asked for.

        Raises:
            BtsTuneError: the process failed.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise BtsTuneError(f"{self.job.kind}: its process died.") from None
        if isinstance(answer, str):
            raise BtsTuneError(f"{self.job.kind}: {answer}")
        assert isinstance(answer, Turn)
        return answer


@dataclass(frozen=True)
class Line:
    """One line of the result: a model and one way to train it."""

    model: str
    kind: str
    images_per_second: float
    to_peer: float | None
    to_limit: float | None
    waiting_share: float
    outside_seconds: float | None
    peak_mib: float
    steps: int
    turns: int


def measure(base: Job, model: str, kinds: Sequence[str], seconds: float, rounds: int) -> list[Line]:
    """Measure every kind of training of one model, turn by turn."""
    with Process(replace(base, kind="limit", steps=2)) as probe:
        probe.turn()
        step = probe.turn().step_seconds / 2
    base = replace(base, steps=max(2, round(seconds / step)))
    references = [kind for kind in kinds if kind not in POLICIES]
    turns: dict[str, list[Turn]] = {kind: [] for kind in references}
    lines = []
    with contextlib.ExitStack() as stack:
        alive = [_warm(stack, replace(base, kind=kind)) for kind in references]
        for policy in [kind for kind in kinds if kind in POLICIES]:
            config = base.config.replaced({"augmentation": policy, "epochs": rounds + 1})
            beside: dict[str, list[Turn]] = {kind: [] for kind in [*references, policy]}
            with contextlib.ExitStack() as own:
                trial = _warm(own, replace(base, kind=policy, config=config))
                for _ in range(rounds):
                    for process in (*alive, trial):
                        beside[process.job.kind].append(process.turn())
            lines.append(_line(model, policy, beside, base.steps))
            for kind in references:
                turns[kind] += beside[kind]
    return [*(_line(model, kind, turns, base.steps) for kind in references), *lines]


def _warm(stack: contextlib.ExitStack, job: Job) -> Process:
    process = stack.enter_context(Process(job))
    process.turn()
    return process


def _line(model: str, kind: str, turns: dict[str, list[Turn]], steps: int) -> Line:
    own = turns[kind]
    peers = [turns[name] for name in ("peer", "peer-amp") if turns.get(name)]
    peer = max(peers, key=_speed, default=None)
    limit = turns.get("limit")

    def ratio(other: list[Turn] | None) -> float | None:
        if other is None:
            return None
        return statistics.median(
            one.images_per_second / two.images_per_second for one, two in zip(own, other, strict=True)
        )

    outside = [turn.outside_seconds for turn in own if turn.outside_seconds is not None]
    return Line(
        model=model,
        kind=kind,
        images_per_second=_speed(own),
        to_peer=ratio(peer),
        to_limit=ratio(limit),
        waiting_share=statistics.median(turn.waiting_seconds / turn.step_seconds for turn in own),
        outside_seconds=statistics.median(outside) if outside else None,
        peak_mib=max(turn.peak_mib for turn in own),
        steps=steps,
        turns=len(own),
    )


def _speed(turns: Sequence[Turn]) -> float:
    return statistics.median(turn.images_per_second for turn in turns)


HEADER = """\
| model | training | images/s | / peer | / limit | waiting for data | outside steps, s | peak MiB |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def render(one: Line) -> str:
    """Return a line as one of a table in Markdown."""

    def figure(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    return (
        f"| {one.model} | {one.kind} | {figure(one.images_per_second)} | {figure(one.to_peer)} | "
        f"{figure(one.to_limit)} | {one.waiting_share:.1%} | {figure(one.outside_seconds)} | {one.peak_mib:.0f} |"
    )


def configuration(model: str, image_size: int, batch_size: int) -> TrialConfig:
    """Return a baseline's configuration with random encoder weights."""
    named = {one.name: one.config for one in load_space("baseline").resolve().named}
    return named[model].replaced({"encoder_weights": "none", "image_size": image_size, "batch_size": batch_size})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset (phantoms of 640 px)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--augmentation", nargs="+", choices=POLICIES, default=["none", "medium", "strong"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10, help="length of a turn, about (10)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each that count (2)")
    parser.add_argument("--threads", type=int, default=available_cpus(), help="CPU threads (all cores)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(cuda where there is a GPU)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(arguments)
    for name in ("seconds", "rounds", "threads", "batch_size"):
        if getattr(parsed, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(parsed, name)}: must be above 0.")
    import torch

    device = parsed.device or ("cuda" if torch.cuda.is_available() else "cpu")
    kinds = ["peer", *(["peer-amp"] if device == "cuda" else []), "limit", *parsed.augmentation]
    lines: list[Line] = []
    if not parsed.json:
        print(HEADER)
    try:
        with tempfile.TemporaryDirectory() as folder:
            data, cache = parsed.data, default_cache()
            if data is None:
                data, cache = Path(folder) / "phantoms", Path(folder) / "cache"
                write_phantom(data, count=160, image_size=640, slices_per_patient=4, seed=0)
            for model in parsed.models:
                config = configuration(model, parsed.image_size, parsed.batch_size)
                prepared = prepare(open_dataset(data), config.part(PreprocessingPart), cache=cache)
                job = Job("", config, prepared.folder, data, device, parsed.threads, 1)
                measured = measure(job, model, kinds, parsed.seconds, parsed.rounds)
                lines += measured
                if not parsed.json:
                    print(*map(render, measured), sep="\n", flush=True)
    except BtsTuneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if parsed.json:
        options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(parsed).items()}
        print(
            json.dumps({"hardware": hardware(), "options": options, "lines": [asdict(one) for one in lines]}, indent=2)
        )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    sys.exit(main())
