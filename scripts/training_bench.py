"""What the benchmarks of training share: their options, the data, and a process of its own for whatever is measured."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.cache import default_cache
from bts_tune.data.prepared.prepare import prepare
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.errors import BtsTuneError
from bts_tune.space import load_space
from scripts.training_rounds import Job, Measurement, measure_rounds

MODELS = ("unet-b0", "unet-b0-frozen", "unetplusplus-b5")

SMALL = "unet-resnet18"
"""A further model, of little work in each step."""


def add_options(parser: argparse.ArgumentParser, models: Sequence[str]) -> None:
    """Add the options that every benchmark of training has; `models` is the default of `--models`."""
    parser.add_argument("--data", type=Path, help="dataset (phantoms of 640 px)")
    parser.add_argument("--models", nargs="+", choices=(*MODELS, SMALL), default=list(models))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each that count (2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(cuda where there is a GPU)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def chosen_device(parsed: argparse.Namespace) -> str:
    """Return the device that was asked for, or else the GPU where there is one."""
    import torch

    return str(parsed.device or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def opened_data(given: Path | None) -> Iterator[tuple[Path, Path]]:
    """Give a dataset and a cache to prepare it in; without a dataset, phantoms that are removed at the end."""
    if given is not None:
        yield given, default_cache()
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "phantoms"
        write_phantom(data, count=160, image_size=640, slices_per_patient=4, seed=0)
        yield data, Path(folder) / "cache"


def base_job(parsed: argparse.Namespace, model: str, data: Path, cache: Path, device: str) -> Job:
    """Return a job for a model with random encoder weights, on prepared data; its kind is still to be given."""
    named = {one.name: one.config for one in load_space("baseline").resolve().named}
    named[SMALL] = named["unet-b0"].replaced({"encoder": "resnet18", "encoder_weights": "none"})
    config = named[model].replaced(
        {"encoder_weights": "none", "image_size": parsed.image_size, "batch_size": parsed.batch_size}
    )
    dataset = open_dataset(data)
    if not dataset.records["valid"]:  # a dataset that has no such split; which slices it holds changes no speed
        train = dataset.records["train"]
        dataset = replace(dataset, records={**dataset.records, "train": train[:-32], "valid": train[-32:]})
    prepared = prepare(dataset, config.part(PreprocessingPart), cache=cache)
    return Job("", config, prepared.folder, data, device, threads=1, steps=1)


def serve(connection: Connection, job: Job) -> None:
    """Measure a round for each message, until told to end; a failure is sent as a sentence."""
    measured = measure_rounds(job)
    try:
        while connection.recv():
            connection.send(next(measured))
    except EOFError:
        pass
    except Exception as error:  # for whoever waits for the answer
        connection.send(f"{type(error).__name__}: {error}")
    finally:
        measured.close()


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
        self.close()

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def measure(self) -> Measurement:
        """Measure a round; see `answer`."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Begin a round."""
        with contextlib.suppress(OSError):  # a process that died says so, by silence, in `answer`
            self._connection.send(True)

    def answer(self) -> Measurement:
        """Wait for the round that was asked for.

        Raises:
            BtsTuneError: the process failed.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise BtsTuneError(f"{self.job.kind}: its process died.") from None
        if isinstance(answer, str):
            raise BtsTuneError(f"{self.job.kind}: {answer}")
        assert isinstance(answer, Measurement)
        return answer
