"""`bts-tune data`: check and generate datasets, and look after the cache of prepared ones."""

from __future__ import annotations

import argparse

from bts_tune.cli.help import add_examples
from bts_tune.cli.json_output import print_json
from bts_tune.cli.options import add_plugin, as_path, load_given_plugins
from bts_tune.console import make_console, say
from bts_tune.data.volumes.planes import PLANES
from bts_tune.errors import EXIT_OK, EXIT_PROBLEM, DataError
from bts_tune.registry import SPLIT_METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `bts-tune data`."""
    add_examples(
        parser,
        {
            "bts-tune data check DIR": "before GPU hours are spent",
            "bts-tune data phantom DIR": "a dataset to try things out",
        },
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="look for what is wrong with a dataset", allow_abbrev=False)
    add_examples(
        check,
        {
            "bts-tune data check DIR --preview masks.html": "look at the masks, suspicious first",
            "bts-tune data check DIR --leaks leaks.csv": "which images have a twin in training",
        },
    )
    check.add_argument("folder", type=as_path, help="the dataset's folder")
    check.add_argument("--reader", metavar="NAME", help="how the folder is laid out (found by itself)")
    check.add_argument("--plane", choices=PLANES, default=PLANES[0], help="how volumes are cut into slices (axial)")
    check.add_argument("--empty-slices", metavar="X", type=float, default=0.2, help="share without a tumour (0.2)")
    check.add_argument("--sequence", metavar="NAME", help="of several MRI sequences, the one to read, or all")
    check.add_argument("--channels", metavar="N", type=int, default=1, help="of an image, as a run is to read it (1)")
    check.add_argument(
        "--tumor-categories",
        metavar="NAME",
        action="extend",
        nargs="+",
        help="COCO categories that count as tumour (all)",
    )
    check.add_argument(
        "--tumor-labels", metavar="VALUE", action="extend", nargs="+", help="values of mask files that are tumour"
    )
    check.add_argument(
        "--split-seed", metavar="N", type=int, default=0, help="seed of a split that the dataset does not have (0)"
    )
    check.add_argument(
        "--split", metavar="HOW", help=f"{' or '.join(SPLIT_METHODS)} (the dataset's own; where it has none, grouped)"
    )
    check.add_argument(
        "--group-by", metavar="HOW", help="patients: a regular expression on file names, a CSV file, or none"
    )
    check.add_argument("--pairs", metavar="FILE.png", type=as_path, help="draw the worst pairs across splits")
    check.add_argument(
        "--leaks",
        metavar="FILE.csv",
        type=as_path,
        help="write each image outside train that has an identical, same-scan or similar one there",
    )
    check.add_argument(
        "--preview",
        metavar="FILE",
        type=as_path,
        help="draw slices with their masks, suspicious first (.png or .html)",
    )
    check.add_argument("--json", action="store_true", help="print the outcome as JSON")
    check.add_argument("--cache", metavar="DIR", type=as_path, help="where to keep what opening every image showed")
    check.add_argument("--verbose", action="store_true", help="list every issue")
    add_plugin(check)
    check.set_defaults(action=_check)
    phantom = commands.add_parser("phantom", help="write a synthetic dataset", allow_abbrev=False)
    add_examples(
        phantom,
        {
            "bts-tune data phantom DIR --count 1000": "slices of 125 patients, with outlines",
            "bts-tune data phantom DIR --annotation box": "rectangles in place of outlines",
        },
    )
    phantom.add_argument("folder", type=as_path, help="where to write it; a new folder")
    phantom.add_argument("--count", metavar="N", type=int, default=240, help="number of slices (240)")
    phantom.add_argument("--image-size", metavar="N", type=int, default=256, help="side in pixels (256)")
    phantom.add_argument(
        "--annotation", choices=("outline", "box"), default="outline", help="how tumours are annotated (outline)"
    )
    phantom.add_argument(
        "--tumor-free", metavar="X", type=float, default=0.15, help="share of slices without a tumour (0.15)"
    )
    phantom.add_argument("--slices-per-patient", metavar="N", type=int, default=8, help="slices of each patient (8)")
    phantom.add_argument("--seed", metavar="N", type=int, default=0, help="other slices with another seed (0)")
    phantom.set_defaults(action=_phantom)
    cache = commands.add_parser(
        "cache", help="show or clear the cache of prepared and checked data", allow_abbrev=False
    )
    add_examples(
        cache,
        {
            "bts-tune data cache": "what it holds, and where it is",
            "bts-tune data cache --clear": "remove what nothing uses",
        },
    )
    cache.add_argument("--clear", action="store_true", help="remove what nothing uses")
    cache.add_argument(
        "--cache", metavar="DIR", type=as_path, help="where it is (BTS_TUNE_CACHE, or the system's place)"
    )
    cache.set_defaults(action=_cache)


def _check(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.config import MAX_CHANNELS
    from bts_tune.data.checks.check import check_dataset, render
    from bts_tune.data.checks.preview import require_format, write_preview
    from bts_tune.data.open import open_dataset
    from bts_tune.data.prepared.cache import default_cache
    from bts_tune.data.scan.scan_cache import cached_scan
    from bts_tune.data.splits.leakage import draw_pairs
    from bts_tune.data.splits.make import make_split
    from bts_tune.progress_bar import progress_bar
    from bts_tune.results.record.files import write_atomically
    from bts_tune.results.record.leaks import write_leaks

    console = make_console()
    load_given_plugins(parsed)
    if parsed.preview is not None:
        require_format(parsed.preview)
    if not 1 <= parsed.channels <= MAX_CHANNELS:
        raise DataError(f"--channels {parsed.channels}: must be from 1 to {MAX_CHANNELS}.")
    dataset = open_dataset(
        parsed.folder,
        tumor_categories=parsed.tumor_categories,
        tumor_labels=parsed.tumor_labels,
        split_seed=parsed.split_seed,
        reader=parsed.reader,
        plane=parsed.plane,
        empty_slices=parsed.empty_slices,
        sequence=parsed.sequence,
    )
    with progress_bar(make_console(stderr=True), "checking") as progress:
        scan = cached_scan(dataset, parsed.cache or default_cache(), progress=progress)
    with progress_bar(make_console(stderr=True), "comparing images") as progress:
        scan.compare(progress)
    dataset, split = make_split(dataset, scan, parsed.split, seed=parsed.split_seed, group_by=parsed.group_by)
    checked = check_dataset(dataset, scan=scan, groups=split.labels(scan), channels=[parsed.channels])
    if parsed.json:
        print_json("data check", {**checked.to_json(), "split": split.to_dict()})
    else:
        say(console, render(checked, verbose=parsed.verbose))
        say(console, split.sentence())
    if parsed.preview is not None:
        with progress_bar(make_console(stderr=True), "drawing masks") as progress:
            write_preview(parsed.preview, dataset, scan, progress=progress)
        if not parsed.json:
            say(console, f"Preview: {parsed.preview}")
    if parsed.pairs is not None:
        try:
            write_atomically(parsed.pairs, draw_pairs(dataset, checked.leak))
        except OSError as error:
            raise DataError(f"--pairs {parsed.pairs}: cannot be written: {error.strerror}.") from None
        if not parsed.json:
            say(console, f"Worst pairs: {parsed.pairs}")
    if parsed.leaks is not None:
        try:
            write_leaks(parsed.leaks, checked.leak.pairs)
        except OSError as error:
            raise DataError(f"--leaks {parsed.leaks}: cannot be written: {error.strerror}.") from None
        if not parsed.json:
            say(console, f"Images that leak: {parsed.leaks}")
    return EXIT_PROBLEM if checked.errors else EXIT_OK


def _phantom(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.data.synthetic.phantom import write_phantom
    from bts_tune.progress_bar import progress_bar

    with progress_bar(make_console(stderr=True), "generating") as progress:
        write_phantom(
            parsed.folder,
            count=parsed.count,
            image_size=parsed.image_size,
            slices_per_patient=parsed.slices_per_patient,
            annotation=parsed.annotation,
            tumor_free=parsed.tumor_free,
            seed=parsed.seed,
            progress=progress,
        )
    print(f"{parsed.folder}: {parsed.count} slices")
    return EXIT_OK


def _cache(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.data.prepared.cache import clear, default_cache, entries, size

    cache = parsed.cache or default_cache()
    if parsed.clear:
        cleared = clear(cache)
        in_use = f"; {cleared.in_use} in use left" if cleared.in_use else ""
        print(f"{cache}: {cleared.removed} entries removed, {cleared.freed / 2**20:.1f} MiB freed{in_use}")
        return EXIT_OK
    for entry in entries(cache):
        how = entry.holds or ", ".join(f"{name} {value}" for name, value in sorted(entry.preprocessing.items()))
        print(f"{entry.folder.name}  {entry.size / 2**20:8.1f} MiB  {how}  {entry.dataset}")
    print(f"{cache}: {size(cache) / 2**20:.1f} MiB")
    return EXIT_OK
