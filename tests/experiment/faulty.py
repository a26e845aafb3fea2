"""Faults inside the process of a trial, put there from outside: a `sitecustomize` that every Python process loads.

Nothing in the product knows of it. It waits until a process imports the training loop and wraps the function that
trains an epoch; a trial named after a fault suffers it in its second epoch, `<fault>-once` at its first attempt alone.
A trial named `slow` takes two seconds more for each epoch, so that there is time for faults from outside.
"""

from __future__ import annotations

import os
from pathlib import Path

_SITECUSTOMIZE = """
import ctypes, importlib.abc, importlib.util, os, signal, sys, time
from pathlib import Path

MARKS = Path({marks!r})


def out_of_gpu_memory():
    import torch
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def out_of_memory():
    import torch
    torch.empty(2**60)


def raises():
    raise ValueError("a matrix that cannot be inverted")


def device_error():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


FAULTS = {{
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(7),
    "sysexit": lambda: sys.exit(7),
    "hung": lambda: time.sleep(3600),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "raises": raises,
    "device": device_error,
    "oom": out_of_gpu_memory,
    "memory": out_of_memory,
}}


def patch(loop):
    train = loop._train_epoch

    def faulty(trial, epoch):
        name = trial.folder.name if trial.folder is not None else ""
        kind, _, once = name.partition("-")
        if kind == "slow":
            time.sleep(2)
        if epoch == 2 and kind in FAULTS:
            marks = MARKS / name
            with marks.open("a") as file:
                file.write(f"{{os.getpid()}}\\n")
            if not once or len(marks.read_text().splitlines()) == 1:
                FAULTS[kind]()
        return train(trial, epoch)

    loop._train_epoch = faulty


class AfterImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "bts_tune.training.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, AfterImport())
"""

_SPACE = """
name: faulty
description: Trials named after what happens to them.
defaults:
  image_size: 32
  epochs: {epochs}
  batch_size: 8
  decoder: linknet
  encoder: tu-test_efficientnet
  encoder_weights: none
seeds: [0]
demo: {{}}
trials:
"""

_TRIAL = """
  {name}:
    description: A tiny network.
    baseline: true
    config: {{learning_rate: 0.001}}
"""


def environment(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a command whose trials suffer faults, and the folder where each attempt leaves a mark.

    A file of marks is named after its trial and has the process id of an attempt in each line.
    """
    site, marks = folder / "site", folder / "marks"
    site.mkdir()
    marks.mkdir()
    (site / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(marks=str(marks)))
    # Two threads that wait for each other in a loop would take the cores from what they wait for.
    return {"PYTHONPATH": str(site), "OMP_WAIT_POLICY": "PASSIVE"}, marks


def space(folder: Path, *trials: str, epochs: int = 3, search: str = "") -> Path:
    """Write a space with one baseline of each name."""
    path = folder / "faulty.yaml"
    path.write_text(_SPACE.format(epochs=epochs) + "".join(_TRIAL.format(name=name) for name in trials) + search)
    return path


def processes(command: str, parent: int) -> list[int]:
    """Return the processes below `parent` whose title begins with `command`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _title(entry).startswith(command) and parent in _ancestors(int(entry.name)):
            found.append(int(entry.name))
    return sorted(found)


def _title(process: Path) -> str:
    try:
        title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
    first = title.split(" ")[0]
    return os.path.basename(first) if first.startswith("/") else title


def _ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        process = int(fields[1])
        found.append(process)
    return found
