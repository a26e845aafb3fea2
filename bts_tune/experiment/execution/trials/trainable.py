"""The process of a trial: Ray's side of the training loop."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from bts_tune.experiment.execution.trials.faults import (
    BrokenProcessError,
    anywhere_but,
    is_of_this_node,
    node_id,
    require_able_node,
    restore_on_node,
)
from bts_tune.experiment.execution.trials.retries import FaultKind, is_unwritable
from bts_tune.results.record.objective import Objective

if TYPE_CHECKING:
    from bts_tune.experiment.execution.files.node_files import TrialFiles
    from bts_tune.training.trial import Row, Trial


class TrialActor(tune.Trainable):
    """Steps through the rows of one trial, then of the next: a process is kept warm and reused from trial to trial.

    Importing torch and SMP and creating a CUDA context takes longer than epochs of a small model do. What a trial
    depends on beside its configuration is set as it is opened (see `open_trial`), and what it held is given back as it
    ends, so that a trial in a reused process gives the rows of one in a fresh process.

    What goes wrong is reported as the trial's outcome with a reason, because a report without the metric must not end
    the experiment. `outcome` is running, complete, diverged, failed, or unwritable, which ends the run.

    Raises:
        BrokenProcessError: out of memory, or a failure that nobody foresaw; this process must not be used again.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the trial's cores and GPUs, on any node but those that are left out."""
        bundle = {"CPU": config["cpus"], "GPU": config["gpus"]}
        if config["memory"]:
            bundle["memory"] = config["memory"]
        elsewhere = {"bundle_label_selector": [anywhere_but(config["left_out"])]} if config["left_out"] else {}
        return tune.PlacementGroupFactory([bundle], **elsewhere)

    def __repr__(self) -> str:
        """What Ray's dashboard and logs call the process; asked for once, so that it can name no trial of many."""
        return f"trials of {self._plan['run']}"

    def setup(self, config: dict[str, Any]) -> None:
        """Remember what to run; the model is built in the first step, where a failure can be reported."""
        self._plan = config
        self._files: TrialFiles | None = None
        self._trial: Trial | None = None
        self._rows: Iterator[Row] | None = None
        self._epoch = 0
        self._best = ""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Give back what the last trial held, and remember what to run next."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next row, or how the trial ended."""
        from bts_tune.errors import BtsTuneError
        from bts_tune.experiment.execution.files.node_files import NodeFaultError, UnwritableResultsError
        from bts_tune.text import first_line
        from bts_tune.training.loop import DivergedError

        epochs = self._plan["config"]["epochs"]
        _set_process_title(f"ray::{self._plan['trial']} epoch {self._epoch + 1}/{epochs}{self._best}")
        opened = {}
        try:
            if self._rows is None:
                opened = self._open()
            assert self._rows is not None
            assert self._files is not None
            row = next(self._rows)
            self._files.bring_back()
        except NodeFaultError as error:
            raise BrokenProcessError(str(error), "node", node_id()) from None
        except UnwritableResultsError as error:
            return self._ended("unwritable", str(error))
        except DivergedError as error:
            return self._ended("diverged", str(error))
        except BtsTuneError as error:
            return self._ended("failed", str(error))
        except Exception as error:  # whatever happens in one trial is that trial's outcome
            if what := out_of_memory(error):
                batch = self._plan["config"]["batch_size"]
                raise BrokenProcessError(f"out of {what} with batch_size {batch}", "oom") from None
            if is_unwritable(error) and (self._files is None or self._files.shared):
                return self._ended("unwritable", f"{type(error).__name__}: {error}")
            print(traceback.format_exc(), flush=True)
            kind: FaultKind = "died" if _is_of_this_process(error) else "failed"
            if self._plan["shipping"] is not None and is_of_this_node(error):
                kind = "node"
            reason = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
            raise BrokenProcessError(reason, kind, node_id()) from None
        self._epoch = row.epoch
        objective: Objective = self._plan["objective"]
        self._best = f" best {row.to_dict()[objective.best_column]:.4f}"
        last = row.epoch == epochs
        if last:
            self.cleanup()
        return {**row.to_dict(), "outcome": "complete" if last else "running", "opened": opened, "done": last}

    def cleanup(self) -> None:
        """Give memory and threads back; again does nothing."""
        trial, self._trial, self._rows = self._trial, None, None
        files, self._files = self._files, None
        if trial is not None:
            trial.close()
        if files is not None:
            files.close()

    def _open(self) -> dict[str, Any]:
        from bts_tune.config import TrialConfig
        from bts_tune.data.prepared.prepare import load_prepared
        from bts_tune.experiment.execution.files.node_files import TrialFiles
        from bts_tune.models.weights import EncoderWeights
        from bts_tune.plugins import restore
        from bts_tune.training.loop import open_trial, rows
        from bts_tune.training.trial import TrialSetup

        if not gc.get_freeze_count():
            gc.freeze()  # what is imported stays; the collection at the end of each trial need not look through it
        plan = self._plan
        shipping = plan["shipping"]
        if shipping is None:
            restore(plan["plugins"])
        else:
            require_able_node(plan["versions"], plan["device"])
            restore_on_node(plan["plugins"])
        weights = EncoderWeights(**plan["weights"])
        self._files = TrialFiles(plan["folder"], shipping, plan["elsewhere"])
        self._trial = open_trial(
            TrialConfig.parse(plan["config"], f"trial {plan['trial']}"),
            load_prepared(Path(plan["prepared"])) if shipping is None else shipping.prepared(plan["prepared"]),
            TrialSetup(
                weights=weights if shipping is None else shipping.weights(weights),
                device=plan["device"],
                threads=plan["threads"],
                folder=self._files.folder,
                cpu_precision=plan["cpu_precision"],
            ),
        )
        self._rows = rows(self._trial)
        return {**self._trial.describe(), "pid": os.getpid(), "node_id": node_id()}

    def _ended(self, outcome: str, reason: str) -> dict[str, Any]:
        self.cleanup()
        objective: Objective = self._plan["objective"]
        worst = {objective.best_column: objective.worst}
        return {"epoch": self._epoch, **worst, "outcome": outcome, "reason": reason, "done": True}


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

    After a CUDA error every further call in the process fails; a file may be read again, and Ray asked again.
    """
    from ray.exceptions import RayError

    return isinstance(error, OSError | RayError) or "CUDA error" in str(error)


def _set_process_title(title: str) -> None:
    """Say what this process does, in the dashboard's list of a node's processes and in `ps`.

    Ray's dashboard names an actor once, when it is created, which a reused process outlives. The title is Ray's own
    until the step begins, and again when it has ended; it must begin with 'ray::' for the dashboard to list it.
    """
    with contextlib.suppress(ImportError):
        # Not public; without it, the title stays Ray's.
        from ray._raylet import setproctitle  # type: ignore[attr-defined]

        setproctitle(title)
