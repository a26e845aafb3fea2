#!/usr/bin/env python
"""Measures what comes before and beside the training: preparation, shared memory, start-up and the record.

    python scripts/bench_preparation.py --data DIR
    python scripts/bench_preparation.py --count 100000 --parts large

Parts:

    prepare   cold and warm seconds and peak memory of preparing a dataset at 224 px, beside one plain loop that reads,
              equalises and resizes the same files into a list
    large     the check, opened and from the cache, and the cold preparation of --count phantoms of 64 px
    share     proportional set size (Pss, `smaps_rollup`) of 1 and of 4 processes that have read every prepared slice:
              shared pages count once, divided among those who share them
    start     start of `bts-tune` to the first training step, with a cold and a warm cache, and `bts-tune --help`
    rows      seconds for one more row in a record of 100, 10,000 and 350,000 rows

Peak memory is the resident set's; pages of the files that are being written belong to it, though the system may drop
them at any time, so anonymous memory is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bts_tune.config import PreprocessingPart
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.experiment.planning.environment import hardware
from bts_tune.results.record.run_folder import RunFolder

PARTS = ("prepare", "large", "share", "start", "rows")
ROWS = (100, 10_000, 350_000)


def _prepare(data: str, size: int, cache: str) -> int:
    from bts_tune.data.open import open_dataset
    from bts_tune.data.prepared.prepare import prepare

    prepared = prepare(open_dataset(Path(data)), PreprocessingPart(image_size=size), cache=Path(cache))
    return sum(len(split) for split in (prepared.train, prepared.valid, prepared.test))


def _check(data: str, _size: int, cache: str) -> int:
    from bts_tune.data.checks.check import check_dataset
    from bts_tune.data.open import open_dataset
    from bts_tune.data.scan.scan_cache import cached_scan

    dataset = open_dataset(Path(data))
    scan = cached_scan(dataset, Path(cache))
    check_dataset(dataset, scan=scan)
    return len(scan.names)


def _plain_loop(data: str, size: int, _cache: str) -> int:
    import cv2

    from bts_tune.data.open import open_dataset
    from bts_tune.data.prepared.images import read_mask

    slices = []
    for records in open_dataset(Path(data)).records.values():
        for record in records:
            grey = cv2.imread(str(record.image), cv2.IMREAD_GRAYSCALE)
            assert grey is not None, record.image
            image = cv2.equalizeHist(grey)
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(read_mask(record), (size, size), interpolation=cv2.INTER_NEAREST)
            slices.append((image, mask))
    return len(slices)


def _measured(work: Callable[[str, int, str], int], arguments: tuple[str, int, str], answers: Connection) -> None:
    """Do some work; send its seconds, those of the processor, the slices and peaks of memory, in MiB.

    The peaks are those above what the imports took.
    """

    from bts_tune.data import open as sources  # noqa: F401
    from bts_tune.data.checks import check  # noqa: F401
    from bts_tune.data.prepared import prepare  # noqa: F401

    before, peaks, done = _resident(), {"VmRSS": 0.0, "RssAnon": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            now = _resident()
            for name in peaks:
                peaks[name] = max(peaks[name], now[name] - before[name])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started, cpu_before = time.perf_counter(), time.process_time()
    slices = work(*arguments)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_before
    done.set()
    watcher.join()
    answers.send(
        {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "slices": slices,
            "peak_mib": peaks["VmRSS"],
            "peak_anonymous_mib": peaks["RssAnon"],
        }
    )


def _memory(process: int | str) -> dict[str, float]:
    """Return the fields of a process's `smaps_rollup` in MiB."""
    with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
        pairs = (line.split() for line in file)
        return {pair[0].rstrip(":"): float(pair[1]) / 1024 for pair in pairs if len(pair) == 3 and pair[2] == "kB"}


def _resident() -> dict[str, float]:
    """Return this process's resident memory and the anonymous part of it in MiB: counters, which cost no time to read.

    `smaps_rollup` walks over all pages, which takes longer than the work where there are gigabytes of them.
    """
    fields = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return {field[0].rstrip(":"): float(field[1]) / 1024 for field in fields if field[0] in ("VmRSS:", "RssAnon:")}


def _in_a_process(work: Callable[[str, int, str], int], *arguments: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, arguments, sender))
    process.start()
    sender.close()
    try:
        answer: dict[str, Any] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed; see above.") from None
    finally:
        process.join()
    return answer


def prepare_part(data: Path, size: int, folder: Path) -> dict[str, Any]:
    """Measure a cold and a warm preparation and the plain loop."""
    cache = str(folder / f"cache-{size}")
    return {
        "cold": _in_a_process(_prepare, str(data), size, cache),
        "warm": _in_a_process(_prepare, str(data), size, cache),
        "plain loop": _in_a_process(_plain_loop, str(data), size, cache),
    }


def _read_all(data: str, cache: str, connection: Connection) -> None:
    from bts_tune.data.open import open_dataset
    from bts_tune.data.prepared.prepare import prepare

    before = _memory("self")["Pss"]
    prepared = prepare(open_dataset(Path(data)), PreprocessingPart(), cache=Path(cache))
    total = sum(int(split.images.sum()) + int(split.masks.sum()) for split in (prepared.train, prepared.valid))
    connection.send((total, before))
    connection.recv()  # all have read
    connection.send(_memory("self")["Pss"] - before)
    connection.recv()  # all have measured


def share_part(data: Path, folder: Path) -> dict[str, Any]:
    """Measure the memory that 1 and 4 processes with the same prepared data have in all, above their own start."""
    cache = str(folder / "cache-224")
    _prepare(str(data), 224, cache)
    context = multiprocessing.get_context("spawn")
    result: dict[str, Any] = {}
    for count in (1, 4):
        ours, processes = [], []
        for _ in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=_read_all, args=(str(data), cache, theirs))
            process.start()
            theirs.close()
            ours.append(mine)
            processes.append(process)
        for mine in ours:
            mine.recv()
        for mine in ours:
            mine.send(True)
        pss = [mine.recv() for mine in ours]
        for mine, process in zip(ours, processes, strict=True):
            mine.send(True)
            process.join()
        result[f"{count} processes"] = {"pss_mib_each": sum(pss) / count, "pss_mib_in_all": sum(pss)}
    files = Path(cache).glob("*/*.npy")
    result["prepared files"] = {"mib": sum(file.stat().st_size for file in files) / 2**20}
    return result


def start_part(data: Path, folder: Path) -> dict[str, Any]:
    """Measure the command's start to the first training step, and `--help`."""
    result: dict[str, Any] = {}
    for name in ("cold", "warm"):
        command = [sys.executable, "-m", "bts_tune", "--space", "baseline", "--data", str(data), "--only", "unet-b0"]
        command += ["--set", "encoder_weights=none", "--epochs", "1", "--image-size", "32", "--no-dashboard"]
        command += ["--name", name, "--results", str(folder), "--cache", str(folder / "cache-start")]
        started = time.time()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the run ended with {done.returncode}:\n{done.stdout[-2000:]}")
        row = RunFolder.open(folder / name).trials()[0].rows[0]
        result[name] = {"seconds": row["time"] - row["seconds"] - started}
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bts_tune", "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begun)
    result["--help"] = {"seconds": sorted(seconds)[2]}
    return result


def rows_part(folder: Path) -> dict[str, Any]:
    """Measure what one more row costs in records of several lengths; the median of 200 appended rows."""
    from bts_tune.training.trial import Row

    row: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__, 0.123456789)
    result: dict[str, Any] = {}
    for count in ROWS:
        run = RunFolder.create(folder / f"rows-{count}", {"run": "rows"})
        line = json.dumps({"trial": "search-0001", **row, "epoch": 1, "time": time.time()}) + "\n"
        with run.rows_file.open("w") as file:
            file.writelines(line for _ in range(count))
        seconds = []
        for epoch in range(200):
            begun = time.perf_counter()
            run.append_row({"trial": "search-0001", **row, "epoch": epoch + 1, "time": time.time()})
            seconds.append(time.perf_counter() - begun)
        result[f"{count} rows"] = {"milliseconds": sorted(seconds)[100] * 1000}
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset (240 phantoms of 640 px)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=100_000, help="phantoms of the part 'large' (100000)")
    parser.add_argument("--large", metavar="DIR", type=Path, help="where they are, or are written and left")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(arguments)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = parsed.data
        if data is None and {"prepare", "share", "start"} & set(parsed.parts):
            data = folder / "phantoms"
            write_phantom(data, count=240, image_size=640, slices_per_patient=4, seed=0)
        for part in parsed.parts:
            if part == "prepare":
                result[part] = prepare_part(data, 224, folder)
            elif part == "large":
                large = parsed.large or folder / "large"
                if not large.exists():
                    write_phantom(large, count=parsed.count, image_size=64, slices_per_patient=4, seed=0)
                cache = str(folder / "cache-large")
                result[part] = {
                    "check": _in_a_process(_check, str(large), 64, cache),
                    "check again": _in_a_process(_check, str(large), 64, cache),
                    "cold": _in_a_process(_prepare, str(large), 64, cache),
                }
            elif part == "share":
                result[part] = share_part(data, folder)
            elif part == "start":
                result[part] = start_part(data, folder)
            else:
                result[part] = rows_part(folder)
            print(f"{part}: measured", file=sys.stderr)
    if parsed.json:
        print(json.dumps({"hardware": hardware(), **result}, indent=2))
        return 0
    for part, lines in result.items():
        for what, figures in lines.items():
            print(f"{part:<9}{what:<16}" + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
