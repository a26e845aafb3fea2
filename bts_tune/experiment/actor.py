"""The process of a trial: Ray's side of the training loop."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from bts_tune.experiment.faults import is_unwritable
from bts_tune.experiment.scheduler import EPOCH, METRIC
from bts_tune.experiment.searcher import WORST

if TYPE_CHECKING:
    from bts_tune.training.loop import Row, Trial


class TrialActor(tune.Trainable):
    """Steps through the rows of one trial.

    What goes wrong is reported as the trial's outcome with a reason, because a report without the metric must not end
    the experiment. `outcome` is running, complete, diverged, oom, failed, or unwritable, which ends the run. A step
    raises only what a fresh process may get past: Ray then ends this one.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the trial's cores and GPUs."""
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Remember what to run; the model is built in the first step, where a failure can be reported."""
        self._plan = config
        self._trial: Trial | None = None
        self._rows: Iterator[Row] | None = None
        self._epoch = 0

    def __repr__(self) -> str:
        """The name that Ray's dashboard shows for this actor."""
        return str(self._plan["trial"])

    def step(self) -> dict[str, Any]:
        """Return the next row, or how the trial ended."""
        from bts_tune.errors import BtsTuneError
        from bts_tune.training.loop import DivergedError

        opened = {}
        try:
            if self._rows is None:
                opened = self._open()
            assert self._rows is not None
            row = next(self._rows)
        except DivergedError as error:
            return self._ended("diverged", str(error))
        except BtsTuneError as error:
            return self._ended("failed", str(error))
        except Exception as error:  # whatever happens in one trial is that trial's outcome
            if what := out_of_memory(error):
                batch = self._plan["config"]["batch_size"]
                return self._ended("oom", f"out of {what} with batch_size {batch}")
            if is_unwritable(error):
                return self._ended("unwritable", f"{type(error).__name__}: {error}")
            if _is_of_this_process(error):
                raise
            print(traceback.format_exc(), flush=True)
            return self._ended("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        self._epoch = row.epoch
        last = row.epoch == self._plan["config"]["epochs"]
        return {**row.to_dict(), "outcome": "complete" if last else "running", "opened": opened, "done": last}

    def cleanup(self) -> None:
        """Give memory and threads back."""
        if self._trial is not None:
            self._trial.close()

    def _open(self) -> dict[str, Any]:
        from bts_tune.config import TrialConfig
        from bts_tune.data.prepare import load_prepared
        from bts_tune.training.loop import TrialSetup, open_trial, rows
        from bts_tune.training.weights import EncoderWeights

        plan = self._plan
        self._trial = open_trial(
            TrialConfig.parse(plan["config"], f"trial {plan['trial']}"),
            load_prepared(Path(plan["prepared"])),
            TrialSetup(
                weights=EncoderWeights(**plan["weights"]),
                device=plan["device"],
                threads=plan["threads"],
                folder=Path(plan["folder"]),
            ),
        )
        self._rows = rows(self._trial)
        return self._trial.describe()

    def _ended(self, outcome: str, reason: str) -> dict[str, Any]:
        return {EPOCH: self._epoch, METRIC: WORST, "outcome": outcome, "reason": reason, "done": True}


def out_of_memory(error: Exception) -> str:
    """Return which memory ran out, 'GPU memory' or 'memory'; an empty string where the error says nothing of it."""
    import torch

    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError) or re.search(r"CU(BLAS|DNN|SOLVER)_STATUS_ALLOC_FAILED", text):
        return "GPU memory"
    # PyTorch's allocators raise a plain RuntimeError on the CPU.
    cpu = isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "not enough memory" in text)
    return "memory" if isinstance(error, MemoryError) or cpu else ""


def _is_of_this_process(error: Exception) -> bool:
    """Whether an error lies with the process or its device, so that a fresh process may get past it.

    After a CUDA error every further call in the process fails; a file may be read again.
    """
    return isinstance(error, OSError) or "CUDA error" in str(error)
